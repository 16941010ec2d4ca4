package router

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// instanceMetrics are what is told of each instance. There may be ten thousand:
// so they are plain numbers until somebody asks.
type instanceMetrics struct {
	// mu guards routes, by instance.
	mu     sync.Mutex
	routes map[string]*routeMetrics
}

// routeMetrics are those of one instance.
type routeMetrics struct {
	open                                               atomic.Int64
	opened, cut, leaderChanges, fromClient, fromServer atomic.Uint64
}

// What is told of each instance.
var (
	descOpen          = describe("sessions", "Sessions that are open.")
	descOpened        = describe("sessions_total", "Sessions that were opened.")
	descCut           = describe("sessions_cut_total", "Sessions cut: their leader leads no more, or an operator has switched off what they went through.")
	descLeaderChanges = describe("leader_changes_total", "Changes to another leader.")
	descBytes         = describe("bytes_total", "Bytes moved, by who sent them: client or server.", "from")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pgpatron_router_"+name, help, append([]string{"instance"}, labels...), nil)
}

func newInstanceMetrics(r prometheus.Registerer) *instanceMetrics {
	m := &instanceMetrics{routes: map[string]*routeMetrics{}}
	r.MustRegister(m)
	return m
}

// Describe is of prometheus.Collector.
func (m *instanceMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descOpen, descOpened, descCut, descLeaderChanges, descBytes} {
		out <- d
	}
}

// Collect is of prometheus.Collector.
func (m *instanceMetrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, r := range m.routes {
		counter := func(d *prometheus.Desc, n *atomic.Uint64, labels ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()), append([]string{id}, labels...)...)
		}
		out <- prometheus.MustNewConstMetric(descOpen, prometheus.GaugeValue, float64(r.open.Load()), id)
		counter(descOpened, &r.opened)
		counter(descCut, &r.cut)
		counter(descLeaderChanges, &r.leaderChanges)
		counter(descBytes, &r.fromClient, "client")
		counter(descBytes, &r.fromServer, "server")
	}
}

// route returns the numbers of an instance, new ones if there are none.
func (m *instanceMetrics) route(instance string) *routeMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.routes[instance]
	if r == nil {
		r = &routeMetrics{}
		m.routes[instance] = r
	}
	return r
}

// forget removes what is told of an instance that is gone.
func (m *instanceMetrics) forget(instance string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.routes, instance)
}
