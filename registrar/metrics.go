package registrar

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// newFencings returns the counter of fencings, registered if r is not nil.
func newFencings(r prometheus.Registerer) *prometheus.CounterVec {
	return promauto.With(r).NewCounterVec(prometheus.CounterOpts{
		Name: "pgpatron_registrar_fencings_total",
		Help: "Deaths of containers by what became of the leader key: released, vacant, elsewhere, moved, alive, unsettled.",
	}, []string{"outcome"})
}
