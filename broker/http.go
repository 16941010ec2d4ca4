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
	root.Group(func(api chi.Router) { osb.Routes(api, b, b.cfg.platformLogins(), b.log) })
	return osb.RawPath(root)
}

// healthz says whether the broker has its picture of etcd.
func (b *Broker) healthz(w http.ResponseWriter, _ *http.Request) {
	select {
	case <-b.engine.Ready():
		fmt.Fprintln(w, "ok")
	default:
		http.Error(w, "etcd has not been read yet", http.StatusServiceUnavailable)
	}
}
