package broker_test

import (
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

// register plays a router: its key stands under a lease until the test ends.
func (s *site) register(router string) clientv3.LeaseID {
	s.t.Helper()
	lease, err := s.client.Grant(s.t.Context(), 600)
	if err != nil {
		s.t.Fatal(err)
	}
	key := state.Switch{Kind: state.RouterSwitch, Name: router}.Key()
	if _, err := s.client.Put(s.t.Context(), key, "", clientv3.WithLease(lease.ID)); err != nil {
		s.t.Fatal(err)
	}
	return lease.ID
}

func (s *site) put(key, value string) {
	s.t.Helper()
	if _, err := s.client.Put(s.t.Context(), key, value); err != nil {
		s.t.Fatal(err)
	}
}

// value returns the value at a key and its lease; false if there is no such key.
func (s *site) value(key string) (string, clientv3.LeaseID, bool) {
	s.t.Helper()
	resp, err := s.client.Get(s.t.Context(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return "", 0, false
	}
	return string(resp.Kvs[0].Value), clientv3.LeaseID(resp.Kvs[0].Lease), true
}

func (s *site) awaitRouters(ops *admin.Client, n int) {
	s.t.Helper()
	s.poll("the routers are seen", func() bool {
		list, err := ops.Routers(s.t.Context())
		return err == nil && len(list) == n
	})
}

const routerA, routerB = "10.0.0.5@-@4711", "10.0.0.6@-@812"

// TestRouterSwitch: a router's key is written under its own lease, with who did
// it, when and why, and what can not be is refused.
func TestRouterSwitch(t *testing.T) {
	s := newSite(t)
	ops := operatorOf(t, s)
	lease := s.register(routerA)
	s.register(routerB)
	s.awaitRouters(ops, 2)
	disable := func(id string, act admin.Act) (admin.Router, error) {
		return ops.SwitchRouter(t.Context(), id, true, act)
	}
	enable := func(id string) (admin.Router, error) { return ops.SwitchRouter(t.Context(), id, false, admin.Act{}) }

	_, err := disable("10.9.9.9@-@1", admin.Act{})
	refused(t, err, http.StatusConflict, "'10.9.9.9@-@1' does not exist")
	_, err = enable(routerA)
	refused(t, err, http.StatusConflict, "'"+routerA+"' is not disabled")
	r, err := disable(routerA, admin.Act{By: "alice", Reason: "drops packets"})
	if err != nil || !r.Disabled || r.By != "ops (alice)" || r.Reason != "drops packets" || r.Since.IsZero() {
		t.Fatalf("got %+v, %v", r, err)
	}
	key := state.Switch{Kind: state.RouterSwitch, Name: routerA}.Key()
	if value, under, there := s.value(key); value != "DISABLED" || under != lease || !there {
		t.Errorf("etcd has %q under lease %x, want DISABLED under %x", value, under, lease)
	}
	_, err = disable(routerA, admin.Act{})
	refused(t, err, http.StatusConflict, "'"+routerA+"' has been disabled")
	_, err = disable(routerB, admin.Act{})
	refused(t, err, http.StatusConflict, "'"+routerB+"' is the last enabled router, cannot be disabled")
	if _, err := disable(routerB, admin.Act{Force: true}); err != nil {
		t.Fatal(err)
	}
	list, err := ops.Routers(t.Context())
	if err != nil || len(list) != 2 || list[0].ID != routerA || list[0].Status() != "disabled" || !list[1].Disabled {
		t.Errorf("got %+v, %v", list, err)
	}
	r, err = enable(routerA)
	if err != nil || r.Disabled || r.By != "" || r.Status() != "enabled" {
		t.Errorf("got %+v, %v", r, err)
	}
	if value, under, there := s.value(key); value != "" || under != lease || !there {
		t.Errorf("etcd has %q under lease %x, want nothing under %x", value, under, lease)
	}
	if _, _, there := s.value(state.SwitchedKey(state.Switch{Kind: state.RouterSwitch, Name: routerA})); there {
		t.Error("what was known of the switch is still there")
	}
}

// TestKeysWithoutARouter: a switch that was written for a router that does not run
// is shown as that, and is nobody who serves.
func TestKeysWithoutARouter(t *testing.T) {
	s := newSite(t)
	ops := operatorOf(t, s)
	s.register(routerA)
	s.put(state.Switch{Kind: state.RouterSwitch, Name: routerB}.Key(), "")
	s.awaitRouters(ops, 2)
	_, err := ops.SwitchRouter(t.Context(), routerA, true, admin.Act{})
	refused(t, err, http.StatusConflict, "is the last enabled router")
	r, err := ops.SwitchRouter(t.Context(), routerB, true, admin.Act{})
	if err != nil || r.Status() != "disabled (not running)" {
		t.Errorf("got %s, %v", r.Status(), err)
	}
}

// TestDeadRoutersAreSwept also where no router is left to do it.
func TestDeadRoutersAreSwept(t *testing.T) {
	s := newSite(t)
	key := state.Switch{Kind: state.RouterSwitch, Name: routerA}.Key()
	s.put(key, "DISABLED") // which took it from its lease, before its router died
	s.put(state.RouterRecordKey(routerA), "")
	s.poll("what the router has left is gone", func() bool {
		_, _, there := s.value(key)
		return !there
	})
}

// TestActsAreAudited: the log tells who did what and why.
func TestActsAreAudited(t *testing.T) {
	s := newSite(t)
	s.stop()
	var log locked
	s.config.Log = slog.New(slog.NewTextHandler(&log, nil))
	s.start()
	ops := operatorOf(t, s)
	s.register(routerA)
	s.awaitRouters(ops, 1)
	if _, err := ops.SwitchRouter(t.Context(), routerA, true, admin.Act{By: "alice", Reason: "drops packets", Force: true}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`who="operator ops"`, "/admin/routers/" + routerA + "/disable", "by=alice", `reason="drops packets"`, "force=true", "status=200",
	}
	_, audit, _ := strings.Cut(log.String(), "msg=audit")
	for _, w := range want {
		if line, _, _ := strings.Cut(audit, "\n"); !strings.Contains(line, w) {
			t.Errorf("the audit does not say %s: %s", w, line)
		}
	}
}

// TestLastTwoRouters: of two operators who disable the last two routers at the
// same moment, by two brokers, exactly one is refused.
func TestLastTwoRouters(t *testing.T) {
	s := newSite(t)
	_, other, stop := s.run()
	defer stop()
	s.register(routerA)
	s.register(routerB)
	first := operatorOf(t, s)
	second, err := admin.NewClient(other, state.Credentials{Username: s.config.AdminUsername, Password: s.config.AdminPassword})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitRouters(first, 2)
	s.awaitRouters(second, 2)
	for range 20 {
		wantOneRefused(t, "is the last enabled router", map[*admin.Client]string{first: routerA, second: routerB},
			func(ops *admin.Client, id string, off bool) error {
				_, err := ops.SwitchRouter(t.Context(), id, off, admin.Act{})
				return err
			})
	}
}

// wantOneRefused has two operators disable one thing each at the same moment, and
// enables again what was disabled.
func wantOneRefused(t *testing.T, words string, things map[*admin.Client]string, throw func(ops *admin.Client, id string, off bool) error) {
	t.Helper()
	var mu sync.Mutex
	var asking sync.WaitGroup
	disabled := map[*admin.Client]string{}
	for ops, id := range things {
		asking.Go(func() {
			err := throw(ops, id, true)
			if err != nil {
				refused(t, err, http.StatusConflict, words)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			disabled[ops] = id
		})
	}
	asking.Wait()
	if len(disabled) != 1 {
		t.Errorf("%d of 2 were let", len(disabled))
	}
	for ops, id := range disabled {
		if err := throw(ops, id, false); err != nil {
			t.Error(err)
		}
	}
}

// TestReplicaSwitch: a replica rests and serves again; its leader and its last
// replica do not.
func TestReplicaSwitch(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	s.provision("a", haPlan)
	ops := operatorOf(t, s)
	leader, first, second := s.roles(ops, "a")
	throw := func(id string, off bool, act admin.Act) (admin.Replica, error) {
		return ops.SwitchReplica(t.Context(), id, off, act)
	}

	for _, id := range []string{"a.none", "none." + first.Node, "none", "a."} {
		_, err := throw(id, true, admin.Act{})
		refused(t, err, http.StatusConflict, "'"+id+"' does not exist")
		_, err = throw(id, false, admin.Act{})
		refused(t, err, http.StatusConflict, "'"+id+"' does not exist")
	}
	_, err := throw(first.ID, false, admin.Act{})
	refused(t, err, http.StatusConflict, "'"+first.ID+"' is not disabled")
	_, err = throw("a."+leader, true, admin.Act{Force: true})
	refused(t, err, http.StatusConflict, "'a."+leader+"' is the leader of 'a', cannot be disabled")

	r, err := throw(first.ID, true, admin.Act{Reason: "new disk"})
	if err != nil || r.Status() != "disabled" || r.Reason != "new disk" || r.By != "ops" {
		t.Fatalf("got %+v, %v", r, err)
	}
	if value, _, _ := s.value(state.DatasourceKey("a", first.Node)); value != "DISABLED" {
		t.Errorf("etcd has %q", value)
	}
	_, err = throw(first.ID, true, admin.Act{})
	refused(t, err, http.StatusConflict, "'"+first.ID+"' has been disabled")
	_, err = throw(second.ID, true, admin.Act{})
	refused(t, err, http.StatusConflict, "'"+second.ID+"' is the last read replica of 'a', cannot be disabled")
	if _, err := throw(second.ID, true, admin.Act{Force: true}); err != nil {
		t.Fatal(err)
	}
	if r, err := throw(first.ID, false, admin.Act{}); err != nil || r.Status() != "enabled" {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, _, there := s.value(state.DatasourceKey("a", first.Node)); there {
		t.Error("the switch of an enabled replica is still there")
	}
}

// roles returns who leads a cluster of three, and the replicas.
func (s *site) roles(ops *admin.Client, id string) (leader string, first, second admin.Replica) {
	s.t.Helper()
	var list []admin.Replica
	s.poll("two replicas stream", func() bool {
		var err error
		list, err = ops.Replicas(s.t.Context(), id)
		return err == nil && len(list) == 2 && list[0].Streaming && list[1].Streaming
	})
	in, err := ops.Instance(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return in.Leader, list[0], list[1]
}

// TestLastReplicaCounts: a replica does not count that is on a backend that is
// switched off, or that does not follow.
func TestLastReplicaCounts(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	s.provision("a", haPlan)
	ops := operatorOf(t, s)
	_, first, second := s.roles(ops, "a")
	if _, err := ops.Cordon(t.Context(), second.Backend, true, admin.Act{}); err != nil {
		t.Fatal(err)
	}
	_, err := ops.SwitchReplica(t.Context(), first.ID, true, admin.Act{})
	refused(t, err, http.StatusConflict, "is the last read replica of 'a'")
	list, err := ops.Replicas(t.Context(), "a")
	if err != nil || list[1].Status() != "disabled (by its backend)" {
		t.Errorf("got %+v, %v", list, err)
	}
	if _, err := ops.Cordon(t.Context(), second.Backend, false, admin.Act{}); err != nil {
		t.Fatal(err)
	}
	s.nodes.Hold()
	s.put(state.MemberKey("a", second.Node), `{"role":"replica","state":"starting"}`)
	_, err = ops.SwitchReplica(t.Context(), first.ID, true, admin.Act{})
	refused(t, err, http.StatusConflict, "is the last read replica of 'a'")
}

// TestLastTwoReplicas: of two operators who disable the last two replicas at the
// same moment, exactly one is refused.
func TestLastTwoReplicas(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	s.provision("a", haPlan)
	_, other, stop := s.run()
	defer stop()
	ops := operatorOf(t, s)
	second, err := admin.NewClient(other, state.Credentials{Username: s.config.AdminUsername, Password: s.config.AdminPassword})
	if err != nil {
		t.Fatal(err)
	}
	_, one, two := s.roles(ops, "a")
	for range 20 {
		wantOneRefused(t, "is the last read replica", map[*admin.Client]string{ops: one.ID, second: two.ID},
			func(ops *admin.Client, id string, off bool) error {
				_, err := ops.SwitchReplica(t.Context(), id, off, admin.Act{})
				return err
			})
	}
}

// TestDisabledReplicaIsPromoted: it is shown, and can be enabled, whoever leads.
func TestDisabledReplicaIsPromoted(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	s.provision("a", haPlan)
	ops := operatorOf(t, s)
	_, first, _ := s.roles(ops, "a")
	if _, err := ops.SwitchReplica(t.Context(), first.ID, true, admin.Act{}); err != nil {
		t.Fatal(err)
	}
	s.nodes.Lead("a", first.Node)
	status := func() string {
		list, err := ops.Replicas(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			if r.ID == first.ID {
				return r.Status()
			}
		}
		return ""
	}
	s.poll("it is shown as the leader", func() bool { return status() == "disabled (now leader)" })
	if _, err := ops.SwitchReplica(t.Context(), first.ID, false, admin.Act{}); err != nil {
		t.Fatal(err)
	}
	if got := status(); got != "" {
		t.Errorf("an enabled leader is among the replicas: %s", got)
	}
}

// TestSwitchesByHand: what is written with etcdctl shows, without a name, in any
// spelling, and can be taken back here.
func TestSwitchesByHand(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	s.provision("a", haPlan)
	s.register(routerA)
	ops := operatorOf(t, s)
	_, first, _ := s.roles(ops, "a")
	s.put(state.DatasourceKey("a", first.Node), " disabled\n")
	s.put(state.Switch{Kind: state.RouterSwitch, Name: routerA}.Key(), "Disabled")
	s.put(state.DatasourceKey("a", "gone"), "DISABLED")
	var list []admin.Replica
	s.poll("the broker knows since when", func() bool {
		var err error
		list, err = ops.Replicas(t.Context(), "")
		return err == nil && len(list) == 3 && !list[0].Since.IsZero() && !list[2].Since.IsZero()
	})
	if list[0].Status() != "disabled" || list[0].By != "" || list[2].Status() != "disabled (no such node)" {
		t.Errorf("got %+v", list)
	}
	for _, id := range []string{first.ID, "a.gone"} {
		if _, err := ops.SwitchReplica(t.Context(), id, false, admin.Act{}); err != nil {
			t.Error(err)
		}
	}
	s.poll("the router is known to be disabled", func() bool {
		routers, err := ops.Routers(t.Context())
		return err == nil && routers[0].Disabled && !routers[0].Since.IsZero()
	})
	if r, err := ops.SwitchRouter(t.Context(), routerA, false, admin.Act{}); err != nil || r.Disabled {
		t.Errorf("got %+v, %v", r, err)
	}
	s.put(state.DatasourceKey("a", first.Node), "DISABLED")
	s.poll("it is off", func() bool { return s.replica(ops, first.ID).Disabled })
	if _, err := s.client.Delete(t.Context(), state.DatasourceKey("a", first.Node)); err != nil {
		t.Fatal(err)
	}
	s.poll("it is on", func() bool { return !s.replica(ops, first.ID).Disabled })
}

func (s *site) replica(ops *admin.Client, id string) admin.Replica {
	s.t.Helper()
	list, err := ops.Replicas(s.t.Context(), "")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range list {
		if r.ID == id {
			return r
		}
	}
	return admin.Replica{}
}

// TestCordonTellsWhy: a backend's switch is noted like the others.
func TestCordonTellsWhy(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	ops := operatorOf(t, s)
	for range 2 {
		b, err := ops.Cordon(t.Context(), "10.0.0.1", true, admin.Act{By: "alice", Reason: "new kernel"})
		if err != nil || b.By != "ops (alice)" || b.Reason != "new kernel" || b.Since.IsZero() {
			t.Fatalf("got %+v, %v", b, err)
		}
	}
	b, err := ops.Cordon(t.Context(), "10.0.0.1", false, admin.Act{})
	if err != nil || b.By != "" || b.Reason != "" {
		t.Errorf("got %+v, %v", b, err)
	}
	events, err := ops.Events(t.Context(), admin.EventFilter{Kind: state.EventSwitch})
	if err != nil || len(events) != 2 || events[0].Reason != "new kernel" {
		t.Errorf("got %+v, %v: want one for the cordon, one for its end", events, err)
	}
}

// TestSwitchesGoWithTheirNodes: a cluster that is deleted leaves no switch.
func TestSwitchesGoWithTheirNodes(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	s.provision("a", haPlan)
	ops := operatorOf(t, s)
	_, first, second := s.roles(ops, "a")
	for _, r := range []admin.Replica{first, second} {
		if _, err := ops.SwitchReplica(t.Context(), r.ID, true, admin.Act{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	s.want(s.set("a", "node_count", 2), http.StatusAccepted)
	s.poll("a node has left with its switch", func() bool { return s.keysUnder("/state/datasources/") == 1 && s.keysUnder("/state/switched/") == 1 })
	s.poll("the update is over", func() bool { return !s.instance("a").Operation.Running() })
	s.deprovision("a", haPlan)
	if n := s.keysUnder("/state/"); n != 0 {
		t.Errorf("%d keys of switches are left", n)
	}
}

func (s *site) keysUnder(prefix string) int64 {
	s.t.Helper()
	resp, err := s.client.Get(s.t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.Count
}

// TestBadActs: what an operator says must be what can be shown.
func TestBadActs(t *testing.T) {
	s := newSite(t)
	s.register(routerA)
	s.headers = map[string]string{"Authorization": basicAuth(s.config.AdminUsername, s.config.AdminPassword)}
	for query, words := range map[string]string{
		"force=perhaps":                      "force: must be true or false",
		"reason=a%0Ab":                       "reason: must be one line of UTF-8",
		"by=%1b%5b2J":                        "by: must be one line of UTF-8",
		"reason=%ff":                         "reason: must be one line of UTF-8",
		"reason=" + strings.Repeat("x", 501): "reason: must not be longer than 500 bytes, has 501",
	} {
		r := s.want(s.call("POST", "/admin/routers/"+routerA+"/disable?"+query, nil), http.StatusBadRequest)
		if got := r.field(t, "error"); !strings.Contains(got, words) {
			t.Errorf("%s: got %q", query, got)
		}
	}
	for path, words := range map[string]string{
		"/admin/events?kind=weather":     "kind: must be failover, fence, switch or operation",
		"/admin/events?last=-1":          "last: must be a number that is not negative",
		"/admin/events?after=x":          "after: must be a number that is not negative",
		"/admin/events?follow=for+ever":  "follow: must be true or false",
		"/admin/top?limit=many":          "limit: must be a number that is not negative",
		"/admin/top?follow=1&limit=-3":   "limit: must be a number that is not negative",
		"/admin/events?follow=1&kind=no": "kind: must be",
	} {
		r := s.want(s.call("GET", path, nil), http.StatusBadRequest)
		if got := r.field(t, "error"); !strings.Contains(got, words) {
			t.Errorf("%s: got %q", path, got)
		}
	}
}

// TestSwitchesNeedALogin: nobody else throws or sees anything.
func TestSwitchesNeedALogin(t *testing.T) {
	s := newSite(t)
	s.register(routerA)
	for _, path := range []string{"/routers", "/replicas", "/events", "/events?follow=true", "/top", "/top?follow=true"} {
		s.want(s.call("GET", "/admin"+path, nil), http.StatusUnauthorized)
	}
	for _, path := range []string{"/routers/" + routerA, "/replicas/a.b"} {
		s.want(s.call("POST", "/admin"+path+"/disable", nil), http.StatusUnauthorized)
		s.want(s.call("POST", "/admin"+path+"/enable", nil), http.StatusUnauthorized)
	}
	if value, _, _ := s.value(state.Switch{Kind: state.RouterSwitch, Name: routerA}.Key()); value != "" {
		t.Errorf("the router's key says %q", value)
	}
}
