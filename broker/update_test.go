package broker_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/broker/catalog"
)

func TestNodeCountUpAndDown(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3")
	s.provision("i", clusterPlan)
	leader := s.leader("i")
	s.done("i", s.set("i", "node_count", 3))
	if got := s.backendsOf("i"); got != "b1 b2 b3" {
		t.Errorf("nodes are on %s", got)
	}
	s.done("i", s.set("i", "node_count", 2))
	if c := s.cluster("i"); len(c.Nodes) != 2 || !c.Synchronous {
		t.Errorf("got %+v, want two nodes, synchronous", c)
	}
	if s.leader("i") != leader || s.nodes.Switchovers() != 0 {
		t.Error("the leader has changed, and needed not")
	}
	if r := s.call("GET", instancePath("i"), nil); !strings.Contains(r.body, `"parameters":{"node_count":2}`) {
		t.Errorf("instance shows %s", r.body)
	}
}

func TestPlanChanges(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3")
	s.provision("i", singlePlan)
	for _, test := range []struct {
		plan        string
		nodes       int
		memory      int
		synchronous bool
	}{
		{clusterPlan, 2, 512, true}, {haPlan, 3, 1024, true}, {clusterPlan, 2, 512, true}, {haPlan, 3, 1024, true}, {singlePlan, 1, 512, false},
	} {
		s.done("i", s.patch("i", map[string]any{"plan_id": test.plan}))
		c := s.cluster("i")
		if len(c.Nodes) != test.nodes || c.MemoryMB != test.memory || c.Synchronous != test.synchronous || c.PlanID != test.plan {
			t.Errorf("plan %s: got %d nodes of %d MiB, synchronous %t", test.plan, len(c.Nodes), c.MemoryMB, c.Synchronous)
		}
		for _, n := range c.Nodes {
			if n.PlanID != test.plan || n.Spec != nil {
				t.Errorf("node is %+v", n)
			}
		}
		if got := s.instance("i").PlanID; got != test.plan {
			t.Errorf("instance has plan %s", got)
		}
	}
	s.deprovision("i", singlePlan)
	if keys := s.keys(); len(keys) != 1 {
		t.Errorf("left in etcd: %q, want nextport alone", keys)
	}
}

func TestMoveToOtherBackends(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3", "b4")
	s.provision("i", clusterPlan)
	s.done("i", s.set("i", "backends", []string{"b3", "b4"}))
	if got := s.backendsOf("i"); got != "b3 b4" {
		t.Errorf("nodes are on %s", got)
	}
	if n := s.nodes.Switchovers(); n != 1 {
		t.Errorf("the leadership changed %d times, want once", n)
	}
	s.done("i", s.set("i", "move_off", "b3"))
	if got := s.backendsOf("i"); strings.Contains(got, "b3") || len(strings.Fields(got)) != 2 {
		t.Errorf("nodes are on %s", got)
	}
	s.want(s.set("i", "move_off", "b3"), http.StatusOK)
	if r := s.call("GET", instancePath("i"), nil); !strings.Contains(r.body, `"parameters":{}`) {
		t.Errorf("instance shows %s, want nothing of what is done once", r.body)
	}
}

func TestExtensionsAndSettings(t *testing.T) {
	s := newSite(t, "b1", "b2")
	body := order(clusterPlan)
	body["parameters"] = map[string]any{"extensions": []string{"pg_trgm"}, "settings": map[string]any{"work_mem": "8MB", "jit": false}}
	r := s.want(s.call("PUT", instancePath("i")+"?accepts_incomplete=true", body), http.StatusAccepted)
	s.await("i", r.field(t, "operation"), "succeeded")
	if got := s.nodes.Config("i"); !strings.Contains(got, `"parameters":{"jit":"off","work_mem":"8MB"}`) {
		t.Errorf("patroni was told %s", got)
	}
	s.done("i", s.patch("i", map[string]any{"parameters": map[string]any{
		"extensions": []string{"hstore", "citext"}, "settings": map[string]any{"jit": nil, "max_connections": 200},
	}}))
	if got := strings.Join(s.database.extensions["i"], " "); got != "citext hstore" {
		t.Errorf("extensions are %s", got)
	}
	if got := s.nodes.Config("i"); !strings.Contains(got, `"parameters":{"jit":null,"max_connections":"200","work_mem":"8MB"}`) {
		t.Errorf("patroni was told %s", got)
	}
	if r := s.call("GET", instancePath("i"), nil); !strings.Contains(r.body, `"parameters":{"extensions":["hstore","citext"],"settings":{"max_connections":200,"work_mem":"8MB"}}`) {
		t.Errorf("instance shows %s", r.body)
	}
	leader := s.leader("i")
	before := len(s.nodes.Restarts())
	s.done("i", s.set("i", "settings", map[string]any{"max_connections": 50}))
	if restarts := s.nodes.Restarts()[before:]; len(restarts) != 2 || restarts[0] != leader {
		t.Errorf("restarted %q, want the leader %s first: no replica may have fewer connections", restarts, leader)
	}
	s.want(s.set("i", "settings", map[string]any{"max_connections": 50}), http.StatusOK)
}

func TestRestartAndSwitchover(t *testing.T) {
	s := newSite(t, "b1", "b2")
	s.provision("i", clusterPlan)
	leader := s.leader("i")
	s.done("i", s.set("i", "switchover", true))
	if s.leader("i") == leader {
		t.Error("the leader has not changed")
	}
	s.done("i", s.set("i", "restart", true))
	if c := s.cluster("i"); c.Restarts != 1 || s.nodes.Switchovers() != 2 {
		t.Errorf("restarts %d, switchovers %d, want 1 and 2", c.Restarts, s.nodes.Switchovers())
	}
}

func TestUpgrade(t *testing.T) {
	s := newSite(t, "b1", "b2")
	s.provision("i", clusterPlan)
	s.stop()
	s.config.Image = "image:2"
	s.start()
	version := func(v string) map[string]any { return map[string]any{"maintenance_info": map[string]any{"version": v}} }
	if r := s.want(s.patch("i", version("1")), 422); !strings.Contains(r.body, "MaintenanceInfoConflict") {
		t.Errorf("got %s", r.body)
	}
	s.want(s.set("i", "node_count", 2), http.StatusOK)
	if got := s.cluster("i").Image; got != "image:1" {
		t.Errorf("image is %s: nobody has asked for another", got)
	}
	s.done("i", s.patch("i", version("2")))
	if got := s.cluster("i").Image; got != "image:2" {
		t.Errorf("image is %s", got)
	}
	s.stop()
	s.config.Image, s.config.PostgresMajor = "image:3", 18
	s.start()
	if r := s.want(s.patch("i", version("3")), 422); !strings.Contains(r.body, "data is of PostgreSQL 17 and image image:3 has PostgreSQL 18: order a new instance") {
		t.Errorf("got %s", r.body)
	}
}

func TestOneUpdateAtATime(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3")
	s.provision("i", clusterPlan)
	s.nodes.Hold()
	first := s.want(s.set("i", "node_count", 3), http.StatusAccepted)
	again := s.want(s.set("i", "node_count", 3), http.StatusAccepted)
	if first.field(t, "operation") != again.field(t, "operation") {
		t.Errorf("the same request began another operation")
	}
	for _, r := range []reply{s.set("i", "node_count", 4), s.patch("i", map[string]any{}), s.call("GET", instancePath("i"), nil)} {
		if s.want(r, 422); !strings.Contains(r.body, "ConcurrencyError") {
			t.Errorf("got %s", r.body)
		}
	}
	s.nodes.Release()
	s.done("i", first)
}

// A plan's quota counts those who change to it, too.
func TestPlanChangeCountsForTheQuota(t *testing.T) {
	s := newSite(t, "b1", "b2")
	s.config.Plans = catalog.DefaultPlans()
	s.config.Plans[1].MaxInstances = 1
	s.stop()
	s.start()
	s.provision("i", singlePlan)
	s.provision("j", singlePlan)
	s.done("i", s.patch("i", map[string]any{"plan_id": clusterPlan}))
	s.want(s.patch("j", map[string]any{"plan_id": clusterPlan}), http.StatusForbidden)
	s.done("i", s.patch("i", map[string]any{"plan_id": singlePlan}))
	s.done("j", s.patch("j", map[string]any{"plan_id": clusterPlan}))
}

// With the first replica comes the port for reading.
func TestFirstReplicaBringsThePortForReading(t *testing.T) {
	s := newSite(t, "b1", "b2")
	s.config.ReadOnlyPorts = true
	s.stop()
	s.start()
	s.provision("i", singlePlan)
	if port := s.cluster("i").ReadOnlyPort; port != 0 {
		t.Errorf("a single node has port %d for reading", port)
	}
	s.done("i", s.patch("i", map[string]any{"plan_id": clusterPlan}))
	port := s.cluster("i").ReadOnlyPort
	if port == 0 {
		t.Error("there is no port for reading")
	}
	s.done("i", s.set("i", "restart", true))
	if got := s.cluster("i").ReadOnlyPort; got != port {
		t.Errorf("the port for reading was %d and is %d", port, got)
	}
}
