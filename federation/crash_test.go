package federation_test

import (
	"context"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/federation"
)

// The coordinator of an addition is killed at every step. Before the decision
// everybody is what it was once the lease has ended; after it, the site that was
// killed finishes when it is back.
func TestKilledCoordinator(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		point   string
		decided bool
	}{
		{"begun", false}, {"asked dc-2", false}, {"asked dc-1", false}, {"agreed", false},
		{"decided", true}, {"told dc-2", true}, {"told dc-1", true},
	} {
		t.Run(c.point, func(t *testing.T) {
			t.Parallel()
			sites := newSites(t, "dc-0", "dc-1", "dc-2")
			a, b, candidate := sites[0], sites[1], sites[2]
			a.mustAdd(b)
			agree(t, a, b)
			died := a.dieAt(c.point)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for ctx.Err() == nil {
					_, _ = a.client.Add(ctx, candidate.peer(), joinToken)
				}
			}()
			select {
			case <-died:
			case <-time.After(time.Minute):
				t.Fatal("the coordinator was not killed")
			}
			cancel()
			a.stop()
			if !c.decided {
				await(t, "the others are what they were", func() bool {
					return b.status().State == federation.Member && candidate.status().State == federation.Standalone
				})
			}
			a.start(nil)
			if c.decided {
				agree(t, sites...)
				return
			}
			await(t, "dc-0 is what it was", func() bool { return a.status().State == federation.Member })
			a.mustAdd(candidate)
			agree(t, sites...)
		})
	}
}

// A coordinator that never comes back has told one site of two: the other
// learns the decision from that one, and the dead one is evicted.
func TestMembersTellEachOther(t *testing.T) {
	t.Parallel()
	sites := newSites(t, "dc-0", "dc-1", "dc-2")
	a, b, c := sites[0], sites[1], sites[2]
	a.mustAdd(b, c)
	epoch := agree(t, sites...)
	died := a.dieAt("told dc-1")
	go func() { _, _ = a.client.Reserve(t.Context(), "one") }()
	<-died
	a.stop()
	await(t, "dc-2 has heard of the port", func() bool { return c.status().Self.Epoch == epoch+1 && b.status().Self.Epoch == epoch+1 })
	if _, err := b.client.Evict(t.Context(), []string{"dc-0"}, true, false); err != nil {
		t.Fatal(err)
	}
	agree(t, b, c)
	if gips, err := c.client.GIPs(t.Context()); err != nil || len(gips) != 1 || gips[0].Instance != "one" {
		t.Errorf("global ports are %+v (%v)", gips, err)
	}
}
