package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/pgpatron/pgpatron/state"
)

// writeTimeout is how long a request waits for etcd.
const writeTimeout = 10 * time.Second

// Config configures an API.
type Config struct {
	// Self is the id of the node that serves it.
	Self string
	// Tokens tells, with each request, who may ask. Default: nobody may.
	Tokens func() Tokens
	// Log defaults to slog.Default.
	Log *slog.Logger
}

// API is the registry's HTTP API on one node. Every node's answers alike.
type API struct {
	cfg    Config
	engine *state.Engine
	tables *Tables
}

// NewAPI returns the API over an engine whose schema has the tables.
func NewAPI(cfg Config, engine *state.Engine, tables *Tables) *API {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Tokens == nil {
		cfg.Tokens = func() Tokens { return nil }
	}
	return &API{cfg: cfg, engine: engine, tables: tables}
}

// answer handles one request: its result is sent as JSON.
type answer func(r *http.Request) (status int, body any, err error)

// route is one path of the API and the role that it asks for.
type route struct {
	method, path string
	role         Role
	answer       answer
}

// The paths of the API. Deployments are known by both services' names.
const (
	registryPath = "/registry-svc"
	deployPath   = "/deploy-svc"
	openAPIPath  = registryPath + "/openapi.json"
)

func (a *API) routes() []route {
	routes := []route{
		{"GET", registryPath + "/definitions", RoleView, a.listDefinitions},
		{"GET", registryPath + "/definition/{id}", RoleView, a.getDefinition},
		{"GET", registryPath + "/definition/{id}/builds", RoleView, a.listBuilds},
		{"PUT", registryPath + "/definition", RoleEdit, a.putDefinition},
		{"PUT", registryPath + "/definition/{id}", RoleEdit, a.putDefinition},
		{"DELETE", registryPath + "/definition/{id}", RoleEdit, a.deleteDefinition},
		{"GET", registryPath + "/instances", RoleView, a.listInstances},
		{"GET", registryPath + "/instance/{id}", RoleView, a.getInstance},
		{"PUT", registryPath + "/instance", RoleEdit, a.putInstance},
		{"PUT", registryPath + "/instance/{id}", RoleEdit, a.putInstance},
		{"DELETE", registryPath + "/instance/{id}", RoleEdit, a.deleteInstance},
		{"GET", registryPath + "/nodes", RoleView, a.listNodes},
		{"GET", registryPath + "/node/self", RoleView, a.getSelf},
		{"GET", registryPath + "/node/{id}", RoleView, a.getNode},
		{"PUT", registryPath + "/node", RoleAdmin, a.putNode},
		{"PUT", registryPath + "/node/{id}", RoleAdmin, a.putNode},
		{"DELETE", registryPath + "/node/{id}", RoleAdmin, a.deleteNode},
	}
	for _, service := range []string{registryPath, deployPath} {
		routes = append(routes,
			route{"GET", service + "/deployments", RoleView, a.listDeployments},
			route{"GET", service + "/deployment/{id}", RoleView, a.getDeployment},
			route{"PUT", service + "/deployment", RoleEdit, a.putDeployment},
			route{"PUT", service + "/deployment/{id}", RoleEdit, a.putDeployment},
			route{"DELETE", service + "/deployment/{id}", RoleEdit, a.deleteDeployment},
		)
	}
	return routes
}

// Handler serves the API.
func (a *API) Handler() chi.Router {
	root := chi.NewRouter()
	for _, rt := range a.routes() {
		root.Method(rt.method, rt.path, a.guard(rt.role, rt.answer))
	}
	root.Get(openAPIPath, serveOpenAPI)
	root.NotFound(func(w http.ResponseWriter, r *http.Request) {
		a.refuse(w, r, Problem{Status: http.StatusNotFound, Text: "no such path: " + r.URL.Path})
	})
	root.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		a.refuse(w, r, Problem{Status: http.StatusMethodNotAllowed, Text: r.Method + " is not for " + r.URL.Path})
	})
	return root
}

// guard lets in whoever has the role, once etcd has been read, and sends the
// answer.
func (a *API) guard(role Role, h answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := a.cfg.Tokens().admit(r, role)
		if err != nil {
			a.refuse(w, r, err)
			return
		}
		select {
		case <-a.engine.Ready():
		default:
			a.refuse(w, r, Problem{Status: http.StatusServiceUnavailable, Text: state.ErrUnread.Error()})
			return
		}
		status, body, err := h(r.WithContext(withCaller(r.Context(), caller)))
		if err != nil {
			a.refuse(w, r, err)
			return
		}
		if r.Method != http.MethodGet {
			a.cfg.Log.InfoContext(r.Context(), "registry changed", "method", r.Method, "path", r.URL.Path, "caller", caller.Name)
		}
		send(w, status, body)
	})
}

// view looks at the picture.
func (a *API) view(look func(t *Tables, now time.Time)) {
	a.engine.View(func() { look(a.tables, time.Now()) })
}

// change commits a group and returns its own error bare.
func (a *API) change(ctx context.Context, name string, apply func(tx *state.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := a.engine.Do(ctx, state.Group{Name: name, Apply: apply})
	if err == nil {
		return nil
	}
	if p, ok := errors.AsType[Problem](err); ok {
		return p
	}
	if f, ok := errors.AsType[FieldError](err); ok {
		return f
	}
	return fmt.Errorf("writing to etcd: %w", err)
}
