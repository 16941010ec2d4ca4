package router

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pgpatron/pgpatron/router/kernel"
)

// What the kernel has carried is read from it when somebody asks for metrics.
var (
	kernelOpen = prometheus.NewDesc("pgpatron_router_kernel_sessions",
		"Sessions that are open in the kernel.", []string{"instance"}, nil)
	kernelOpened = prometheus.NewDesc("pgpatron_router_kernel_sessions_total",
		"Sessions that the kernel has led to leaders.", []string{"instance"}, nil)
	kernelBytes = prometheus.NewDesc("pgpatron_router_kernel_bytes_total",
		"Bytes of whole IP packets that passed through the kernel, by who sent them.", []string{"instance", "from"}, nil)
	kernelPackets = prometheus.NewDesc("pgpatron_router_kernel_packets_total",
		"Packets that passed through the kernel, by who sent them.", []string{"instance", "from"}, nil)
	conntrackEntries = prometheus.NewDesc("pgpatron_router_conntrack_entries",
		"Flows of any kind that this host's kernel tracks.", nil, nil)
	conntrackLimit = prometheus.NewDesc("pgpatron_router_conntrack_limit",
		"How many flows it can track. A host at its limit takes no new connections.", nil, nil)
)

// Describe says nothing: which instances there are changes.
func (f *fastPath) Describe(chan<- *prometheus.Desc) {}

// Collect reads what the kernel has counted.
func (f *fastPath) Collect(out chan<- prometheus.Metric) {
	f.mu.Lock()
	k := f.kernel
	f.mu.Unlock()
	if k == nil {
		return
	}
	counters, err := k.Counters()
	if err != nil {
		f.plane.log.Debug("reading what the kernel has counted", "err", err)
		return
	}
	for port, c := range counters {
		if instance, ok := f.instance(port); ok {
			collect(out, instance, c)
		}
	}
	if entries, limit, err := kernel.Tracked(); err == nil {
		out <- prometheus.MustNewConstMetric(conntrackEntries, prometheus.GaugeValue, float64(entries))
		out <- prometheus.MustNewConstMetric(conntrackLimit, prometheus.GaugeValue, float64(limit))
	}
}

func (f *fastPath) instance(port uint16) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.routes[port]
	if !ok {
		return "", false
	}
	return r.instance, true
}

func collect(out chan<- prometheus.Metric, instance string, c kernel.Counters) {
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{instance}, labels...)...)
	}
	out <- prometheus.MustNewConstMetric(kernelOpen, prometheus.GaugeValue, float64(c.Open), instance)
	count(kernelOpened, c.Opened)
	count(kernelBytes, c.SentBytes, "client")
	count(kernelBytes, c.ReceivedBytes, "server")
	count(kernelPackets, c.SentPackets, "client")
	count(kernelPackets, c.ReceivedPackets, "server")
}
