package federation_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pgpatron/pgpatron/federation"
)

// watched starts a site's process anew with metrics, and returns what reads them.
func (s *site) watched() func(name, label string) float64 {
	s.t.Helper()
	s.stop()
	registry := prometheus.NewRegistry()
	s.cfg.Metrics = registry
	s.start(nil)
	return func(name, label string) float64 { return sample(s.t, registry, "pgpatron_federation_"+name, label) }
}

// sample returns a metric's value, that with a label of this value if one is given;
// -1 if there is none.
func sample(t *testing.T, r prometheus.Gatherer, name, label string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.Metric {
			if family.GetName() != name || label != "" && (len(m.Label) == 0 || m.Label[0].GetValue() != label) {
				continue
			}
			if m.Counter != nil {
				return m.Counter.GetValue()
			}
			return m.Gauge.GetValue()
		}
	}
	return -1
}

// An operator is told where the site stands, what is under way, and who does not
// answer and since when.
func TestMetrics(t *testing.T) {
	t.Parallel()
	sites := newSites(t, "dc-0", "dc-1")
	a, b := sites[0], sites[1]
	of := a.watched()
	if got := of("state", string(federation.Standalone)); got != 1 || of("members", "") != 0 {
		t.Errorf("a site of its own: standalone is %v, members are %v", got, of("members", ""))
	}
	a.mustAdd(b)
	if _, err := a.reserve("one"); err != nil {
		t.Fatal(err)
	}
	agree(t, sites...)
	await(t, "the metrics tell of the federation", func() bool { return of("gips", "") == 1 && of("outbox", "") == 0 })
	for name, want := range map[string]float64{"epoch": 2, "members": 2, "evicted": 0, "elected": 1, "doubts": 0, "wants": 0, "moves": 0} {
		if got := of(name, ""); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if member, standalone := of("state", string(federation.Member)), of("state", string(federation.Standalone)); member != 1 || standalone != 0 {
		t.Errorf("member is %v, standalone %v", member, standalone)
	}
	await(t, "the other site has answered", func() bool { return of("peer_unreachable_seconds", "dc-1") == 0 })
	before := of("errors_total", "")
	b.link.Cut()
	await(t, "it is told that dc-1 does not answer", func() bool {
		return of("peer_unreachable_seconds", "dc-1") > 0 && of("errors_total", "") > before && of("last_error_age_seconds", "") >= 0
	})
	b.link.Heal()
	await(t, "it is told that dc-1 answers again", func() bool { return of("peer_unreachable_seconds", "dc-1") == 0 })
}
