package router

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are what a router tells of itself, apart from its engine.
type metrics struct {
	*instanceMetrics

	waiting      prometheus.Gauge
	holdSeconds  prometheus.Histogram
	refusals     *prometheus.CounterVec
	abandoned    prometheus.Counter
	dialFailures prometheus.Counter
	acceptErrors prometheus.Counter
	probeSeconds prometheus.Histogram
	fallbacks    prometheus.Counter
	// silent counts sessions whose peer did not acknowledge anything any more.
	silent prometheus.Counter
	// readsByLeader counts readers for whom there was no replica.
	readsByLeader prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "pgpatron_router_" + name, Help: help})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{
			Name: "pgpatron_router_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 3, 11),
		})
	}
	return &metrics{
		instanceMetrics: newInstanceMetrics(r),
		waiting:         f.NewGauge(prometheus.GaugeOpts{Name: "pgpatron_router_held", Help: "Connections that wait for a leader."}),
		holdSeconds:     seconds("hold_seconds", "Time from a connection's arrival to its leader, or to its refusal."),
		refusals: f.NewCounterVec(prometheus.CounterOpts{
			Name: "pgpatron_router_refusals_total", Help: "Connections refused, by reason: no_leader, not_ready, no_replica, instance_full, router_full, no_files, circuit_break.",
		}, []string{"reason"}),
		abandoned:     counter("abandoned_total", "Connections whose client left while they were held."),
		dialFailures:  counter("dial_failures_total", "Attempts to reach a leader that failed."),
		acceptErrors:  counter("accept_errors_total", "Connections that could not be accepted."),
		probeSeconds:  seconds("probe_seconds", "Time from the first question to a leader to the one that says it takes writes."),
		silent:        counter("silent_total", "Sessions cut because a peer acknowledged nothing any more."),
		readsByLeader: counter("reads_by_leader_total", "Readers that were led to the leader because no replica was fit."),
		fallbacks:     counter("probe_fallbacks_total", "Leaders taken by the leader key alone because Patroni did not answer."),
	}
}

// showFailures adds the number of ports that can not be opened.
func showFailures(r prometheus.Registerer, f *failures) {
	promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pgpatron_router_unbound_ports", Help: "Public ports that can not be opened.",
	}, func() float64 { return float64(len(f.load())) })
}
