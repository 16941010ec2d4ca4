package main

import (
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
	others  http.Handler
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
	routes.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	routes.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(f.metrics, promhttp.HandlerOpts{}))
	routes.Handle("/*", f.others)
	server := &http.Server{Handler: routes, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics at %s: %w", f.listen, err)
	}
	return nil
}
