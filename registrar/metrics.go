package registrar

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// newFencings returns the counter of a backend's fencings, registered if r is
// not nil.
func newFencings(r prometheus.Registerer, backend string) *prometheus.CounterVec {
	if r != nil {
		r = prometheus.WrapRegistererWith(prometheus.Labels{"backend": backend}, r)
	}
	return promauto.With(r).NewCounterVec(prometheus.CounterOpts{
		Name: "pgpatron_registrar_fencings_total",
		Help: "Deaths of containers by what became of the leader key: released, vacant, elsewhere, moved, alive, unsettled.",
	}, []string{"outcome"})
}
