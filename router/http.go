package router

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Health is the body of /healthz.
type Health struct {
	// OK is whether the router serves: it has had one complete picture and
	// followed it, and its circuit is not broken. It stays so when etcd is gone.
	OK bool `json:"ok"`
	// Reason is why the router does not serve.
	Reason string `json:"reason,omitempty"`
	// Stale is whether the picture is not etcd's but one that was kept on disk.
	Stale bool       `json:"stale"`
	Etcd  EtcdHealth `json:"etcd"`
	// DataPlane is what moves the bytes of new sessions.
	DataPlane DataPlaneHealth `json:"data_plane"`
	// Unbound are the public ports that can not be opened.
	Unbound []UnboundPort `json:"unbound"`
}

// EtcdHealth tells how old the router's knowledge may be.
type EtcdHealth struct {
	Reachable bool `json:"reachable"`
	// AgeSeconds is the time since etcd last answered, or since the start.
	AgeSeconds float64 `json:"age_seconds"`
	Error      string  `json:"error,omitempty"`
	// Replaced says that the etcd that answers is not the one that the router's
	// picture is of: its data was lost. What was routed stays routed.
	Replaced bool `json:"replaced,omitempty"`
}

// DataPlaneHealth tells which plane is used and why.
type DataPlaneHealth struct {
	Plane  DataPlane `json:"plane"`
	Reason string    `json:"reason"`
}

// UnboundPort is a public port that can not be opened.
type UnboundPort struct {
	Port   int    `json:"port"`
	Reason string `json:"reason"`
}

// Handler serves /metrics and /healthz, as Run does on Config.Metrics.
func (r *Router) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r.cfg.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", r.serveHealth)
	return mux
}

// Health returns what /healthz tells.
func (r *Router) Health() Health {
	h := Health{Unbound: []UnboundPort{}, Stale: r.table.stale(), DataPlane: r.plane.fast.health()}
	select {
	case <-r.plane.started:
	default:
		h.Reason = "nothing is known of the site yet"
	}
	if r.plane.breaker.isOn() {
		h.Reason = r.plane.breaker.reason()
	}
	h.OK = h.Reason == ""
	age, err := r.contact.state()
	h.Etcd = EtcdHealth{Reachable: err == nil, AgeSeconds: age.Seconds()}
	if err != nil {
		h.Etcd.Error = err.Error()
	}
	if err := r.observer.Held(); err != nil {
		h.Etcd.Replaced, h.Etcd.Error = true, err.Error()
	}
	for port, reason := range r.plane.failures.load() {
		h.Unbound = append(h.Unbound, UnboundPort{Port: port, Reason: reason})
	}
	slices.SortFunc(h.Unbound, func(a, b UnboundPort) int { return a.Port - b.Port })
	return h
}

func (r *Router) serveHealth(w http.ResponseWriter, _ *http.Request) {
	h := r.Health()
	w.Header().Set("Content-Type", "application/json")
	if !h.OK {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	// A client that does not take the answer needs none.
	_ = json.NewEncoder(w).Encode(h)
}
