package federation_test

import (
	"fmt"
	"testing"

	"github.com/pgpatron/pgpatron/federation"
	"github.com/pgpatron/pgpatron/state"
)

// More global ports than a transaction holds come to a candidate, and go again
// with the site that leaves.
func TestManyGlobalPorts(t *testing.T) {
	t.Parallel()
	sites := newSites(t, "dc-0", "dc-1", "dc-2")
	a, b, c := sites[0], sites[1], sites[2]
	a.mustAdd(b)
	agree(t, a, b)
	const many = 300
	for i := range many {
		port, instance := 31000+i, fmt.Sprintf("i%d", i)
		for _, s := range []*site{a, b} {
			s.put(state.FederationGIPKey(port), fmt.Sprintf(`{"instance_id":%q,"home":"dc-0"}`, instance))
			s.put(state.PortKey(port), "global: "+instance)
		}
		a.put(state.AllocationKey(instance), fmt.Sprint(port))
		a.put(state.InstanceKey(instance), "{}")
	}
	a.mustAdd(c)
	agree(t, sites...)
	if got := c.status().GIPs; got != many {
		t.Errorf("dc-2 got %d global ports of %d", got, many)
	}
	if got := c.value(state.PortKey(31000 + many - 1)); got != fmt.Sprintf("global: i%d", many-1) {
		t.Errorf("the last port is held by %q", got)
	}
	if _, err := c.client.Leave(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	await(t, "dc-2 is standalone", func() bool { return c.status().State == federation.Standalone })
	if got := c.status().GIPs; got != 0 || c.value(state.PortKey(31000)) != "" {
		t.Errorf("dc-2 kept %d global ports, and port 31000 is held by %q", got, c.value(state.PortKey(31000)))
	}
	if got := a.status().GIPs; got != many {
		t.Errorf("dc-0 has %d global ports of %d", got, many)
	}
}

// A global port whose instance never came to be, or is gone, is given back.
func TestForsakenPortIsGivenBack(t *testing.T) {
	t.Parallel()
	sites := newSites(t, "dc-0", "dc-1")
	a, b := sites[0], sites[1]
	a.stop()
	a.cfg.Grace = 1 // at once
	a.mustStartAndAdd(b)
	port, err := b.reserve("kept")
	if err != nil {
		t.Fatal(err)
	}
	agree(t, a, b)
	if _, err := a.reserve("lost"); err != nil {
		t.Fatal(err)
	}
	await(t, "only the other's port is left", func() bool {
		gips, err := b.client.GIPs(t.Context())
		return err == nil && len(gips) == 1 && gips[0] == federation.Reservation{Port: port, Instance: "kept", Home: "dc-1"}
	})
	agree(t, a, b)
	if got := a.value(state.AllocationKey("lost")); got != "" {
		t.Errorf("the allocation stays: %q", got)
	}
}

func (s *site) mustStartAndAdd(other *site) {
	s.t.Helper()
	s.start(nil)
	s.mustAdd(other)
	agree(s.t, s, other)
}
