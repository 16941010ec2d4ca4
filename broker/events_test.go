package broker_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// followed reads a stream beside the test.
type followed[T any] struct {
	values chan T
	// ended holds what the stream ended with.
	ended chan error
}

func follow[T any](values iter.Seq2[T, error]) followed[T] {
	f := followed[T]{values: make(chan T, 1000), ended: make(chan error, 1)}
	go func() {
		var end error
		for v, err := range values {
			if err != nil {
				end = err
				break
			}
			f.values <- v
		}
		close(f.values)
		f.ended <- end
	}()
	return f
}

// until reads until a value is as wanted.
func (f followed[T]) until(t *testing.T, what string, wanted func(T) bool) T {
	t.Helper()
	limit := time.After(fixtures.Patience)
	for {
		select {
		case v, open := <-f.values:
			if !open {
				t.Fatalf("the stream ended before: %s", what)
			}
			if wanted(v) {
				return v
			}
		case <-limit:
			t.Fatalf("did not come: %s", what)
		}
	}
}

// TestEvents: a site's life stands in its log, with names and reasons.
func TestEvents(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	ops := operatorOf(t, s)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stream := follow(ops.FollowEvents(ctx, admin.EventFilter{}))
	s.provision("a", haPlan)
	stream.until(t, "provision begins", func(e admin.Event) bool { return e.Text == "provision begins" && e.Instance == "a" })
	stream.until(t, "provision succeeded", func(e admin.Event) bool { return e.Text == "provision succeeded" })
	leader, first, second := s.roles(ops, "a")
	if _, err := ops.SwitchReplica(t.Context(), second.ID, true, admin.Act{By: "alice", Reason: "new disk"}); err != nil {
		t.Fatal(err)
	}
	e := stream.until(t, "the replica is disabled", func(e admin.Event) bool { return e.Kind == state.EventSwitch })
	if e.By != "ops (alice)" || e.Reason != "new disk" || e.Node != second.Node || e.Text != "replica "+second.Node+" disabled" {
		t.Errorf("got %+v", e)
	}
	s.nodes.Lead("a", first.Node)
	e = stream.until(t, "another leads", func(e admin.Event) bool { return e.Kind == state.EventFailover })
	if e.Node != first.Node || !strings.Contains(e.Text, first.Node+" on "+first.Backend+" leads, after "+leader) {
		t.Errorf("got %+v", e)
	}
	s.deprovision("a", haPlan)
	if n := s.keysUnder("/events/told/"); n != 0 {
		t.Errorf("the log remembers %d instances that are gone", n)
	}
	stream.until(t, "the instance is gone", func(e admin.Event) bool { return e.Text == "deprovision succeeded" })
	stop()
	if err := <-stream.ended; err != nil {
		t.Errorf("ended with %v", err)
	}

	all, err := ops.Events(t.Context(), admin.EventFilter{Instance: "a"})
	if err != nil || len(all) != 6 {
		t.Fatalf("got %+v, %v", all, err)
	}
	if none, err := ops.Events(t.Context(), admin.EventFilter{Instance: "b"}); err != nil || len(none) != 0 {
		t.Errorf("got %+v, %v", none, err)
	}
	if last, err := ops.Events(t.Context(), admin.EventFilter{Last: 2}); err != nil || len(last) != 2 || last[1].ID != all[5].ID {
		t.Errorf("got %+v, %v", last, err)
	}
	if later, err := ops.Events(t.Context(), admin.EventFilter{After: all[3].Revision}); err != nil || len(later) != 2 {
		t.Errorf("got %+v, %v", later, err)
	}
	if failovers, err := ops.Events(t.Context(), admin.EventFilter{Kind: state.EventFailover}); err != nil || len(failovers) != 1 {
		t.Errorf("got %+v, %v", failovers, err)
	}
}

// TestFollowersAreToldOfTheEnd: a broker that ends does not wait for those who
// follow it, and they know.
func TestFollowersAreToldOfTheEnd(t *testing.T) {
	s := newSite(t)
	ops := operatorOf(t, s)
	events := follow(ops.FollowEvents(t.Context(), admin.EventFilter{}))
	top := follow(ops.FollowTop(t.Context(), 0))
	s.register(routerA)
	top.until(t, "the router is shown", func(top admin.Top) bool { return len(top.Routers) == 1 })
	s.stop()
	for name, ended := range map[string]chan error{"events": events.ended, "top": top.ended} {
		if err := <-ended; !errors.Is(err, admin.ErrEnded) {
			t.Errorf("%s: ended with %v", name, err)
		}
	}
}

// TestFollowingWithoutALogin is refused like everything else.
func TestFollowingWithoutALogin(t *testing.T) {
	s := newSite(t)
	c, err := admin.NewClient(s.url, state.Credentials{Username: "ops", Password: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	stream := follow(c.FollowEvents(t.Context(), admin.EventFilter{}))
	refused(t, <-stream.ended, 401, "wrong username or password")
}

// TestTop: what is shown follows what happens.
func TestTop(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	s.register(routerA)
	s.provision("a", haPlan)
	s.provision("b", singlePlan)
	ops := operatorOf(t, s)
	leader, first, second := s.roles(ops, "a")
	top, err := ops.Top(t.Context(), 0)
	if err != nil || top.Instances != 2 || len(top.Clusters) != 2 || len(top.Routers) != 1 || len(top.Backends) != 3 || top.Revision == 0 {
		t.Fatalf("got %+v, %v", top, err)
	}
	a := top.Clusters[0]
	if a.ID != "a" || a.Plan != "ha" || a.Leader != leader || a.LeaderBackend == "" || a.Replicas != 2 || a.Streaming != 2 || a.Lag == nil || *a.Lag != 0 {
		t.Errorf("got %+v", a)
	}
	if !a.Failover.IsZero() || a.Operation != "" {
		t.Errorf("got %+v", a)
	}
	stream := follow(ops.FollowTop(t.Context(), 1))
	cluster := func(what string, wanted func(admin.Cluster) bool) {
		t.Helper()
		stream.until(t, what, func(top admin.Top) bool {
			return len(top.Clusters) == 1 && top.Instances == 2 && wanted(top.Clusters[0])
		})
	}
	cluster("one cluster is shown", func(c admin.Cluster) bool { return c.ID == "a" })
	s.nodes.Slow(first.Backend, true)
	cluster("a lag is shown", func(c admin.Cluster) bool { return c.Lag != nil && *c.Lag == 1<<39 })
	s.nodes.Slow(first.Backend, false)
	s.nodes.Lead("a", second.Node)
	cluster("the failover is shown", func(c admin.Cluster) bool { return c.Leader == second.Node && !c.Failover.IsZero() })
	s.put(state.DatasourceKey("b", "none"), "DISABLED")
	s.put(state.DatasourceKey("a", second.Node), "DISABLED")
	cluster("the switch is shown", func(c admin.Cluster) bool {
		return len(c.Disabled) == 1 && c.Disabled[0].Status() == "disabled (now leader)"
	})
	if _, err := s.client.Delete(t.Context(), state.DatasourceKey("a", second.Node)); err != nil {
		t.Fatal(err)
	}
	cluster("what is in trouble comes first", func(c admin.Cluster) bool { return c.ID == "b" })
	s.nodes.Hold()
	if _, err := s.client.Delete(t.Context(), state.LeaderKey("a")); err != nil {
		t.Fatal(err)
	}
	stream.until(t, "a cluster without a leader comes first of all", func(top admin.Top) bool {
		return top.Leaderless == 1 && top.Clusters[0].ID == "a"
	})
}

// TestUnreachableBackend: a host that fell silent is shown as it was, and when it
// was heard of last.
func TestUnreachableBackend(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	ops := operatorOf(t, s)
	s.put(state.HostKey("10.0.0.9"), `{"id":"10.0.0.9","hostname":"db9","zone":"z9","docker_version":"28","last_seen":"2026-11-20T10:00:00Z"}`)
	s.put(state.BackendKey("10.0.0.8"), `{"id":"10.0.0.8","docker_version":"28","full":true}`)
	var all []admin.Backend
	s.poll("three backends are known", func() bool {
		var err error
		all, err = ops.Backends(t.Context())
		return err == nil && len(all) == 3
	})
	if all[0].Status != state.BackendHealthy || !all[0].LastSeen.IsZero() {
		t.Errorf("got %+v", all[0])
	}
	if all[1].Status != state.BackendDegraded {
		t.Errorf("a full host is %s", all[1].Status)
	}
	if b := all[2]; b.Status != state.BackendUnreachable || b.Hostname != "db9" || b.Zone != "z9" || b.LastSeen.Format("15:04") != "10:00" {
		t.Errorf("got %+v", b)
	}
}
