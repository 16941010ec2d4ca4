package broker

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/state"
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
		api.Use(refuse(b.unfit))
		osb.Routes(api, b, b.cfg.platformLogins(), b.log)
	})
	return osb.RawPath(root)
}

// refuse refuses all requests but that for the catalog for a reason, as long as there
// is one.
func refuse(reason func() error) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := reason(); err != nil && r.URL.Path != "/v2/catalog" {
				osb.Respond(w, http.StatusServiceUnavailable, "%s", err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// unfit returns why the broker can say nothing to a platform: nothing is known of the
// site's records yet, etcd has lost them, or they are too new.
func (b *Broker) unfit() error {
	return cmp.Or(b.engine.Fit(), b.lost(), b.outdated())
}

// lost returns which backend knows that etcd has lost the site's records. This broker
// came too late to know it by itself.
func (b *Broker) lost() (err error) {
	b.engine.View(func() {
		for loss := range b.tables.losses.All() {
			err = fmt.Errorf("backend %s: %w", loss.Value.Backend, state.ErrReplaced)
		}
	})
	return err
}

// outdated returns why the broker can not understand the site's records, if they are
// too new.
func (b *Broker) outdated() (err error) {
	b.engine.View(func() { err = b.tables.format.Check() })
	return err
}

// healthz says whether the broker has its picture of etcd, and etcd is what it was.
func (b *Broker) healthz(w http.ResponseWriter, _ *http.Request) {
	if err := b.unfit(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
