package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	"code.cloudfoundry.org/lager/v3"
	"github.com/go-chi/chi/v5"
	"github.com/pivotal-cf/brokerapi/v10"
	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"
	"github.com/pivotal-cf/brokerapi/v10/middlewares"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

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
	if b.cfg.AdminUsername != "" {
		root.Route("/admin", b.operatorRoutes)
	}
	root.Group(func(api chi.Router) {
		api.Use(echoIdentity, authenticate("pgpatron broker", b.cfg.platformLogins()...), checkVersion, b.audit(platformRequest), checkBody, tagCatalog, b.amend, b.extendCatalog,
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

// rawPath makes chi match, and hand out, path segments as they were sent: an
// id may hold an encoded slash.
func rawPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.RawPath = r.URL.EscapedPath()
		next.ServeHTTP(w, r)
	})
}
