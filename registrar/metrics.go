package registrar

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// newFencings returns the counter of a backend's fencings, registered if r is
// not nil.
func newFencings(r prometheus.Registerer, backend string) *prometheus.CounterVec {
	return promauto.With(ofBackend(r, backend)).NewCounterVec(prometheus.CounterOpts{
		Name: "pgpatron_registrar_fencings_total",
		Help: "Deaths of containers by what became of the leader key: released, vacant, elsewhere, moved, alive, unsettled.",
	}, []string{"outcome"})
}

// newBites returns the counter of what a backend's watchdog has killed.
func newBites(r prometheus.Registerer, backend string) *prometheus.CounterVec {
	return promauto.With(ofBackend(r, backend)).NewCounterVec(prometheus.CounterOpts{
		Name: "pgpatron_registrar_watchdog_kills_total",
		Help: "Nodes killed because they were alive and dangerous, by cause.",
	}, []string{"cause"})
}

// ofBackend returns a registerer that names the backend, or nil for none.
func ofBackend(r prometheus.Registerer, backend string) prometheus.Registerer {
	if r == nil {
		return nil
	}
	return prometheus.WrapRegistererWith(prometheus.Labels{"backend": backend}, r)
}
