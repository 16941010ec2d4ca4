package broker

import (
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pgpatron/pgpatron/broker/osb"
)

// Handler returns the OSB API, and /healthz and /metrics, which ask for no
// login.
func (b *Broker) Handler() http.Handler {
	root := chi.NewRouter()
	root.Get("/healthz", b.healthz)
	root.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(b.cfg.Metrics, promhttp.HandlerOpts{}))
	root.NotFound(func(w http.ResponseWriter, r *http.Request) {
		osb.Respond(w, http.StatusNotFound, "no such path: %s", r.URL.Path)
	})
	if b.cfg.AdminUsername != "" {
		root.Route("/admin", b.operatorRoutes)
	}
	root.Group(func(api chi.Router) {
		api.Use(b.refuseOutdated)
		osb.Routes(api, b, b.cfg.platformLogins(), b.log)
	})
	return osb.RawPath(root)
}

// refuseOutdated refuses all requests but that for the catalog while the site's
// records are too new: what this broker would say of them may be wrong.
func (b *Broker) refuseOutdated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := b.outdated(); err != nil && r.URL.Path != "/v2/catalog" {
			osb.Respond(w, http.StatusServiceUnavailable, "%s", err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (b *Broker) outdated() (err error) {
	b.engine.View(func() { err = b.tables.format.Check() })
	return err
}

// healthz says whether the broker has its picture of etcd, and can read it.
func (b *Broker) healthz(w http.ResponseWriter, _ *http.Request) {
	select {
	case <-b.engine.Ready():
	default:
		http.Error(w, "etcd has not been read yet", http.StatusServiceUnavailable)
		return
	}
	if err := b.outdated(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
