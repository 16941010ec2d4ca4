package federation_test

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// Instances of all sites want ports at once. Each gets one, and none gets
// another's.
func TestReservationsAtOnce(t *testing.T) {
	t.Parallel()
	sites := newSites(t, "dc-0", "dc-1", "dc-2")
	sites[0].mustAdd(sites[1], sites[2])
	agree(t, sites...)
	const each = 4
	var all sync.WaitGroup
	for _, s := range sites {
		all.Go(func() {
			for i := range each {
				if err := s.insistOnPort(fmt.Sprintf("%s-%d", s.dc, i)); err != nil {
					t.Errorf("%s: %v", s.dc, err)
				}
			}
		})
	}
	all.Wait()
	agree(t, sites...)
	for _, s := range sites {
		gips, err := s.client.GIPs(t.Context())
		if err != nil || len(gips) != each*len(sites) {
			t.Errorf("%s knows %d global ports (%v), want %d", s.dc, len(gips), err, each*len(sites))
		}
		seen := map[string]bool{}
		for _, g := range gips {
			if seen[g.Instance] {
				t.Errorf("%s: instance %s has two ports", s.dc, g.Instance)
			}
			seen[g.Instance] = true
		}
	}
}

// insistOnPort asks again when a site gives up: it does so after a while, however
// busy the machine is.
func (s *site) insistOnPort(instance string) error {
	for deadline := time.Now().Add(2 * time.Minute); ; {
		if _, err := s.reserve(instance); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
