package federation

import (
	"github.com/prometheus/client_golang/prometheus"
)

// states are all that a site can be in, as the metrics tell them.
var states = []State{Standalone, Invited, Member, Review, Leaving}

// What is told of the site. It is read from the picture when somebody asks.
var (
	descState     = describe("state", "1 for the state that the site is in, 0 for the others.", "state")
	descEpoch     = describe("epoch", "How many decisions of its federation the site knows.")
	descMembers   = describe("members", "Sites of the federation, this one among them; 0 while there is none.")
	descEvicted   = describe("evicted", "1 while the others have gone on without the site: it is frozen until it is reset.")
	descElected   = describe("elected", "1 if this process is the one that looks after what is under way.")
	descGIPs      = describe("gips", "Global ports.")
	descOutbox    = describe("outbox", "Decisions that a site has not yet said to have taken.")
	descDoubts    = describe("doubts", "Transactions that the site has agreed to and does not know the outcome of.")
	descWants     = describe("wants", "Instances for which a global port is asked, or was refused.")
	descMoves     = describe("moves", "Instances that move to this site or away from it.")
	descSilent    = describe("peer_unreachable_seconds", "How long another site has not answered, 0 while it does. Told by the elected process.", "dc")
	descErrors    = describe("errors_total", "What did not work and was, or will be, tried again.")
	descLastError = describe("last_error_age_seconds", "How long ago something did not work. Absent if all did.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pgpatron_federation_"+name, help, labels, nil)
}

// collector tells of a site and of its process.
type collector struct{ *Federation }

// Describe is of prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descState, descEpoch, descMembers, descEvicted, descElected, descGIPs, descOutbox, descDoubts, descWants, descMoves,
		descSilent, descErrors, descLastError,
	} {
		out <- d
	}
}

// Collect is of prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	var self Self
	c.engine.View(func() {
		var stands State
		self, stands = c.store.stands()
		for _, s := range states {
			gauge(descState, truth(s == stands), string(s))
		}
		gauge(descGIPs, float64(c.store.gips.Len()))
		gauge(descOutbox, float64(c.store.outbox.Len()))
		gauge(descDoubts, float64(c.store.holds.Len()))
		gauge(descWants, float64(c.store.wants.Len()))
		gauge(descMoves, float64(c.store.movesUnderWay()))
	})
	gauge(descEpoch, float64(self.Epoch))
	gauge(descMembers, float64(len(self.Members)))
	gauge(descEvicted, truth(self.Evicted > 0))
	elected := c.elected.Load()
	gauge(descElected, truth(elected))
	if elected {
		for _, peer := range self.others(self.DC) {
			gauge(descSilent, c.peers.silence.of(peer.DC).Seconds(), peer.DC)
		}
	}
	out <- prometheus.MustNewConstMetric(descErrors, prometheus.CounterValue, float64(c.troubles.count.Load()))
	if age, ever := c.troubles.age(); ever {
		gauge(descLastError, age.Seconds())
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Health returns why the process can not do its work: nothing is known of the site
// yet, or etcd has lost it. That other sites do not answer is no such reason.
func (f *Federation) Health() error { return f.engine.Fit() }
