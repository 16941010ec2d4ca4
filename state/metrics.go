package state

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are what an engine tells of itself.
type metrics struct {
	ticks        prometheus.Counter
	tickSeconds  prometheus.Histogram
	commits      *prometheus.CounterVec
	resyncs      *prometheus.CounterVec
	watchBreaks  prometheus.Counter
	sessionsLost prometheus.Counter
	undecodable  prometheus.Counter
	waiting      prometheus.Gauge
	revision     prometheus.Gauge
	held         prometheus.Gauge
}

func newMetrics(r prometheus.Registerer, name string) *metrics {
	if r != nil {
		r = prometheus.WrapRegistererWith(prometheus.Labels{"engine": name}, r)
	}
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "pgpatron_engine_" + name, Help: help})
	}
	vec := func(name, label, help string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "pgpatron_engine_" + name, Help: help}, []string{label})
	}
	return &metrics{
		ticks: counter("ticks_total", "Ticks of the reactor."),
		tickSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "pgpatron_engine_tick_seconds", Help: "Duration of a Tick.", Buckets: prometheus.ExponentialBuckets(1e-5, 4, 10),
		}),
		commits:      vec("commits_total", "outcome", "Transactions by outcome: committed, conflict, refused."),
		resyncs:      vec("resyncs_total", "reason", "Full loads by reason: start, compacted, silent, replaced."),
		watchBreaks:  counter("watch_breaks_total", "Watches that broke and went on where they were."),
		sessionsLost: counter("sessions_lost_total", "Sessions that etcd let expire."),
		undecodable:  counter("undecodable_values_total", "Values that could not be read and were left out."),
		waiting:      f.NewGauge(prometheus.GaugeOpts{Name: "pgpatron_engine_waiting_events", Help: "Events that the picture has not taken in yet."}),
		revision:     f.NewGauge(prometheus.GaugeOpts{Name: "pgpatron_engine_revision", Help: "etcd revision of the picture."}),
		held:         f.NewGauge(prometheus.GaugeOpts{Name: "pgpatron_engine_held", Help: "1 while etcd is not the one that the picture is of: nothing is changed."}),
	}
}
