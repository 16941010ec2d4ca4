package router

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are what a router tells of itself, apart from its engine.
type metrics struct {
	open          *prometheus.GaugeVec
	opened        *prometheus.CounterVec
	bytes         *prometheus.CounterVec
	cut           *prometheus.CounterVec
	leaderChanges *prometheus.CounterVec

	waiting      prometheus.Gauge
	holdSeconds  prometheus.Histogram
	refusals     *prometheus.CounterVec
	abandoned    prometheus.Counter
	dialFailures prometheus.Counter
	acceptErrors prometheus.Counter
	probeSeconds prometheus.Histogram
	fallbacks    prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "pgpatron_router_" + name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "pgpatron_router_" + name, Help: help}, labels)
	}
	seconds := func(name, help string) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{
			Name: "pgpatron_router_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 3, 11),
		})
	}
	return &metrics{
		open:          f.NewGaugeVec(prometheus.GaugeOpts{Name: "pgpatron_router_sessions", Help: "Sessions that are open."}, []string{"instance"}),
		opened:        vec("sessions_total", "Sessions that were opened.", "instance"),
		bytes:         vec("bytes_total", "Bytes moved, by who sent them: client or server.", "instance", "from"),
		cut:           vec("sessions_cut_total", "Sessions cut because their leader led no more.", "instance"),
		leaderChanges: vec("leader_changes_total", "Changes to another leader.", "instance"),
		waiting:       f.NewGauge(prometheus.GaugeOpts{Name: "pgpatron_router_held", Help: "Connections that wait for a leader."}),
		holdSeconds:   seconds("hold_seconds", "Time from a connection's arrival to its leader, or to its refusal."),
		refusals:      vec("refusals_total", "Connections refused after the hold, by reason: no_leader, not_ready.", "reason"),
		abandoned:     counter("abandoned_total", "Connections whose client left while they were held."),
		dialFailures:  counter("dial_failures_total", "Attempts to reach a leader that failed."),
		acceptErrors:  counter("accept_errors_total", "Connections that could not be accepted."),
		probeSeconds:  seconds("probe_seconds", "Time from the first question to a leader to the one that says it takes writes."),
		fallbacks:     counter("probe_fallbacks_total", "Leaders taken by the leader key alone because Patroni did not answer."),
	}
}

// showFailures adds the number of ports that can not be opened.
func showFailures(r prometheus.Registerer, f *failures) {
	promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pgpatron_router_unbound_ports", Help: "Public ports that can not be opened.",
	}, func() float64 { return float64(len(f.load())) })
}

// held counts a connection as waiting until the returned function is called.
func (m *metrics) held() (done func()) {
	began := time.Now()
	m.waiting.Inc()
	return func() {
		m.waiting.Dec()
		m.holdSeconds.Observe(time.Since(began).Seconds())
	}
}

// routeMetrics are those of one instance.
type routeMetrics struct {
	open                       prometheus.Gauge
	opened, cut, leaderChanges prometheus.Counter
	fromClient, fromServer     prometheus.Counter
}

func (m *metrics) route(instance string) *routeMetrics {
	return &routeMetrics{
		open:          m.open.WithLabelValues(instance),
		opened:        m.opened.WithLabelValues(instance),
		cut:           m.cut.WithLabelValues(instance),
		leaderChanges: m.leaderChanges.WithLabelValues(instance),
		fromClient:    m.bytes.WithLabelValues(instance, "client"),
		fromServer:    m.bytes.WithLabelValues(instance, "server"),
	}
}

// forget removes what is told of an instance that is gone.
func (m *metrics) forget(instance string) {
	of := prometheus.Labels{"instance": instance}
	m.open.DeletePartialMatch(of)
	for _, vec := range []*prometheus.CounterVec{m.opened, m.bytes, m.cut, m.leaderChanges} {
		vec.DeletePartialMatch(of)
	}
}
