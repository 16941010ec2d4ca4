package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// front is where a process is asked over HTTP: for /healthz and /metrics, and
// for whatever else others has an answer to.
type front struct {
	listen string
	// tls is what HTTPS is served with; nil: plain HTTP.
	tls     *tls.Config
	metrics *prometheus.Registry
	// health tells how the process is; nil: it is well.
	health func() health
	// others is nil where nothing else is served.
	others http.Handler
}

// health is what /healthz answers.
type health struct {
	// unfit says that the process can not be asked for anything: 503.
	unfit bool
	// says is a sentence; "": ok.
	says string
}

// unfitFor returns the health of a process that can not do its work for a reason;
// nil: it is well.
func unfitFor(err error) health {
	if err == nil {
		return health{}
	}
	return health{unfit: true, says: err.Error()}
}

// wellBut returns the health of a process that goes on with its work, and has
// something to say. Who restarts it, or takes it out, would make it worse.
func wellBut(err error) health {
	if err == nil {
		return health{}
	}
	return health{says: "ok, but " + err.Error()}
}

func (f front) serveHealth(w http.ResponseWriter, _ *http.Request) {
	var h health
	if f.health != nil {
		h = f.health()
	}
	if h.unfit {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, cmp.Or(h.says, "ok"))
}

// serve answers until ctx ends.
func (f front) serve(ctx context.Context) error {
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listen: %w; end what uses the address, or choose another", err)
	}
	if f.tls != nil {
		listener = tls.NewListener(listener, f.tls)
	}
	routes := chi.NewRouter()
	routes.Get("/healthz", f.serveHealth)
	routes.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(f.metrics, promhttp.HandlerOpts{}))
	if f.others != nil {
		routes.Handle("/*", f.others)
	}
	server := &http.Server{Handler: routes, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics at %s: %w", f.listen, err)
	}
	return nil
}
