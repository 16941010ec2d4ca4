package federation_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/pgpatron/pgpatron/federation"
	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

func TestMain(m *testing.M) { fixtures.RunWaiting(m, nil) }

func wantRefusal(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want a refusal that says %q", err, want)
	}
}

// awaitRefusal asks again until it is refused with these words: before, a site that
// is only slow may be taken for silent.
func awaitRefusal(t *testing.T, ask func() error, want ...string) {
	t.Helper()
	await(t, "it is refused: "+strings.Join(want, " … "), func() bool {
		err := ask()
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				return false
			}
		}
		return true
	})
}

// Two sites are added one after the other; ports that are reserved are the same
// everywhere and no local allocation gets them; one leaves and returns.
func TestThreeSites(t *testing.T) {
	t.Parallel()
	sites := newSites(t, "dc-0", "dc-1", "dc-2")
	a, b, c := sites[0], sites[1], sites[2]
	a.mustAdd(b)
	b.mustAdd(c)
	agree(t, sites...)

	b.put(state.NextPortKey(), "30007")
	port, err := a.reserve("one")
	if err != nil || port != 30007 {
		t.Fatalf("got port %d (%v), want the highest next port of all, 30007", port, err)
	}
	agree(t, sites...)
	for _, s := range sites {
		if got := s.value(state.PortKey(port)); got != "global: one" {
			t.Errorf("%s: port %d is held by %q", s.dc, port, got)
		}
		if got := s.value(state.NextPortKey()); got != "30008" {
			t.Errorf("%s: next port is %s, want 30008", s.dc, got)
		}
	}
	if got := a.value(state.AllocationKey("one")); got != "30007" {
		t.Errorf("the instance's allocation is %q", got)
	}
	if again, err := a.reserve("one"); err != nil || again != port {
		t.Errorf("asked again, got %d (%v)", again, err)
	}

	a.put(state.InstanceKey("one"), "{}")
	_, err = a.client.Leave(t.Context(), false)
	wantRefusal(t, err, "dc-0 is home to 1 global ports")
	if _, err := a.client.Leave(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	await(t, "dc-0 is standalone", func() bool { return a.status().State == federation.Standalone })
	agree(t, b, c)
	if got := a.value(state.PortKey(port)); got != "one" {
		t.Errorf("after leaving, port %d is held by %q, want it to be dc-0's own", port, got)
	}
	if got := b.value(state.PortKey(port)); got != "" {
		t.Errorf("dc-1: port %d is still held by %q", port, got)
	}
	b.mustAdd(a)
	agree(t, sites...)
}

// Every refusal of an addition, word for word.
func TestRefusals(t *testing.T) {
	t.Parallel()
	sites := newSites(t, "dc-0", "dc-1", "dc-2")
	a, b, c := sites[0], sites[1], sites[2]
	wantRefusal(t, a.add(a), "dc-0 is this datacenter")
	_, err := a.client.Add(t.Context(), federation.Peer{DC: "dc-9", Address: b.link.Addr()}, joinToken)
	wantRefusal(t, err, "cannot reach dc-9")
	_, err = a.client.Add(t.Context(), b.peer(), "a guess")
	wantRefusal(t, err, "dc-1 wants its join token to be shown")
	b.put(state.FederationGIPKey(30001), `{"instance_id":"old","home":"dc-7"}`)
	wantRefusal(t, a.add(b), "dc-1 is not empty: 0 dc and 1 gip objects")
	if _, err := b.client.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.mustAdd(b)
	wantRefusal(t, a.add(b), "dc-1 is already a member of federation")
	wantRefusal(t, c.add(b), "dc-1 is already a member of federation")
	_, err = a.client.Evict(t.Context(), []string{"dc-1"}, false, false)
	wantRefusal(t, err, "needs --force")
	_, err = a.client.Reset(t.Context())
	wantRefusal(t, err, "only a site that was evicted is reset")
	_, err = c.reserve("x")
	wantRefusal(t, err, "dc-2 is standalone")

	c.put(state.PortKey(30000), "a neighbour")
	port, err := a.reserve("first")
	if err != nil || port != 30000 {
		t.Fatalf("got port %d (%v)", port, err)
	}
	agree(t, a, b)
	wantRefusal(t, a.add(c), "dc-2 uses port 30000, which is global for instance first")
	if got := a.status().Self.Epoch; got != 2 {
		t.Errorf("refusals have brought the epoch to %d", got)
	}
}

// A member that is out of reach blocks changes, and whoever was asked before is
// what it was.
func TestPartitionDuringReview(t *testing.T) {
	t.Parallel()
	sites := newSites(t, "dc-0", "dc-1", "dc-2")
	a, b, c := sites[0], sites[1], sites[2]
	a.mustAdd(b)
	agree(t, a, b)
	b.link.Cut()
	before := c.status().Self
	awaitRefusal(t, func() error { return a.add(c) }, "cannot reach dc-1: ", "; dc-2 reverted to standalone")
	if after := c.status(); after.State != federation.Standalone || after.Self.UUID != before.UUID || after.Overlay != nil {
		t.Errorf("the candidate is %+v, was %+v", after, before)
	}
	b.link.Heal()
	a.mustAdd(c)
	agree(t, sites...)
}

// Two members add two candidates at once: whoever wins, wins wholly.
func TestConcurrentAdds(t *testing.T) {
	t.Parallel()
	sites := newSites(t, "dc-0", "dc-1", "dc-2", "dc-3")
	a, b := sites[0], sites[1]
	a.mustAdd(b)
	agree(t, a, b)
	var both sync.WaitGroup
	var errA, errB error
	both.Go(func() { errA = a.add(sites[2]) })
	both.Go(func() { errB = b.add(sites[3]) })
	both.Wait()
	t.Logf("dc-0: %v; dc-1: %v", errA, errB)
	members := []*site{a, b}
	if errA == nil {
		members = append(members, sites[2])
	}
	if errB == nil {
		members = append(members, sites[3])
	}
	agree(t, members...)
	for i, err := range []error{errA, errB} {
		if candidate := sites[2+i]; err != nil {
			await(t, "the candidate that was refused is standalone", func() bool { return candidate.status().State == federation.Standalone })
		}
	}
}

// A dead site is evicted, is frozen when it is back, and returns after a reset.
func TestEvictAndReturn(t *testing.T) {
	t.Parallel()
	sites := newSites(t, "dc-0", "dc-1", "dc-2")
	a, b, c := sites[0], sites[1], sites[2]
	a.mustAdd(b, c)
	agree(t, sites...)
	if _, err := c.reserve("theirs"); err != nil {
		t.Fatal(err)
	}
	epoch := agree(t, sites...)
	c.stop()
	awaitRefusal(t, func() error { _, err := a.reserve("mine"); return err }, "cannot reach dc-2: ")
	if _, err := a.client.Evict(t.Context(), []string{"dc-2"}, true, false); err != nil {
		t.Fatal(err)
	}
	agree(t, a, b)
	c.start(nil)
	await(t, "dc-2 knows that it was evicted", func() bool { return c.status().Self.Evicted == epoch+1 })
	_, err := c.reserve("another")
	wantRefusal(t, err, "dc-2 was evicted at epoch 4: it is frozen until dc reset")
	if _, err := c.client.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := c.status(); st.State != federation.Standalone || st.GIPs != 0 {
		t.Errorf("after the reset: %+v", st)
	}
	a.mustAdd(c)
	agree(t, sites...)
}
