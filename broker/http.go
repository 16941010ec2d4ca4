package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"

	"code.cloudfoundry.org/lager/v3"
	"github.com/go-chi/chi/v5"
	"github.com/pivotal-cf/brokerapi/v10"
	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"
	"github.com/pivotal-cf/brokerapi/v10/middlewares"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxBodyBytes bounds a request's body.
const maxBodyBytes = 1 << 20

// Handler returns the OSB API, and /healthz and /metrics, which ask for no
// login.
func (b *Broker) Handler() http.Handler {
	logger := lager.NewLogger("broker")
	logger.RegisterSink(lager.NewSlogSink(slog.New(quiet{b.log.Handler()})))
	root := chi.NewRouter()
	root.Get("/healthz", b.healthz)
	root.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(b.cfg.Metrics, promhttp.HandlerOpts{}))
	root.NotFound(func(w http.ResponseWriter, r *http.Request) {
		respond(w, http.StatusNotFound, "no such path: %s", r.URL.Path)
	})
	root.Group(func(api chi.Router) {
		api.Use(b.authenticate, checkVersion, checkBody,
			middlewares.AddRequestIdentityToContext, middlewares.AddOriginatingIdentityToContext,
			middlewares.AddCorrelationIDToContext, middlewares.AddInfoLocationToContext)
		brokerapi.AttachRoutes(api, b, logger)
	})
	return rawPath(root)
}

// quiet makes every record a debug one: brokerapi calls each refused request
// an error, ours are for what a person must mend.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	// Lager's sink hands records over without asking Enabled.
	if !q.Enabled(ctx, r.Level) {
		return nil
	}
	r.Level = slog.LevelDebug
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }
func (q quiet) WithGroup(name string) slog.Handler       { return quiet{q.Handler.WithGroup(name)} }

// healthz says whether the broker has its picture of etcd.
func (b *Broker) healthz(w http.ResponseWriter, _ *http.Request) {
	select {
	case <-b.engine.Ready():
		fmt.Fprintln(w, "ok")
	default:
		http.Error(w, "etcd has not been read yet", http.StatusServiceUnavailable)
	}
}

// respond writes an error as the OSB API wants it.
func respond(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that is gone needs no answer.
	_ = json.NewEncoder(w).Encode(apiresponses.ErrorResponse{Description: fmt.Sprintf(format, args...)})
}

// authenticate lets the platform in, comparing in constant time.
func (b *Broker) authenticate(next http.Handler) http.Handler {
	digest := func(username, password string) [32]byte {
		return sha256.Sum256([]byte(username + "\x00" + password))
	}
	want := digest(b.cfg.Username, b.cfg.Password.Reveal())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		username, password, _ := r.BasicAuth()
		got := digest(username, password)
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="pgpatron broker"`)
			respond(w, http.StatusUnauthorized, "wrong username or password")
			return
		}
		next.ServeHTTP(w, r)
	})
}

var versionHeader = regexp.MustCompile(`^2\.\d+$`)

// checkVersion refuses clients of another major version of the API.
func checkVersion(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version := r.Header.Get("X-Broker-API-Version")
		if !versionHeader.MatchString(version) {
			respond(w, http.StatusPreconditionFailed, "header X-Broker-API-Version: must be 2.x, got %q", version)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// rawPath makes chi match, and hand out, path segments as they were sent: an
// id may hold an encoded slash.
func rawPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.RawPath = r.URL.EscapedPath()
		next.ServeHTTP(w, r)
	})
}

// checkBody refuses bodies that brokerapi would take for something else: too
// large ones, what is not exactly one JSON object, and fields of a wrong type.
func checkBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut && r.Method != http.MethodPatch {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
		if err != nil {
			respond(w, http.StatusBadRequest, "body: must not be larger than %d bytes, and must arrive whole", maxBodyBytes)
			return
		}
		if err := checkFields(body); err != nil {
			respond(w, http.StatusBadRequest, "body: %s", err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		// What curl sends by default would make brokerapi read it as a form.
		r.Header.Set("Content-Type", "application/json")
		next.ServeHTTP(w, r)
	})
}

// checkFields checks the types of the fields that OSB requests have.
func checkFields(body []byte) error {
	var fields struct {
		ServiceID        string         `json:"service_id"`
		PlanID           string         `json:"plan_id"`
		OrganizationGUID string         `json:"organization_guid"`
		SpaceGUID        string         `json:"space_guid"`
		AppGUID          string         `json:"app_guid"`
		Context          map[string]any `json:"context"`
		Parameters       map[string]any `json:"parameters"`
		PreviousValues   map[string]any `json:"previous_values"`
		MaintenanceInfo  map[string]any `json:"maintenance_info"`
		BindResource     map[string]any `json:"bind_resource"`
	}
	err := json.Unmarshal(body, &fields)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("field %q must not be a %s", wrong.Field, wrong.Value)
	}
	if err != nil {
		return fmt.Errorf("is not one JSON object: %w", err)
	}
	return nil
}
