package broker_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/broker"
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

func TestUpdateRefusals(t *testing.T) {
	plans := broker.DefaultPlans()
	plans = append(plans, broker.Plan{ID: "fixed", Name: "fixed", Description: "d", Nodes: 1, MemoryMB: 512, MilliCPU: 1000, Limits: broker.Limits{Fixed: true}})
	plans[2].Settings = []broker.Setting{{Name: "jit", Type: "boolean"}}
	s := newSite(t, "b1", "b2")
	s.stop()
	s.config.Plans = plans
	s.start()
	s.provision("i", clusterPlan)
	s.done("i", s.set("i", "settings", map[string]any{"work_mem": "8MB"}))
	parameter := func(name string, value any) map[string]any {
		return map[string]any{"parameters": map[string]any{name: value}}
	}
	setting := func(name string, value any) map[string]any {
		return parameter("settings", map[string]any{name: value})
	}
	for name, test := range map[string]struct {
		body   map[string]any
		status int
		says   string
	}{
		"too many nodes":      {parameter("node_count", 6), 400, "node_count: plan cluster takes an integer from 2 to 5"},
		"no such count":       {parameter("node_count", 2.5), 400, "node_count"},
		"no backend is free":  {parameter("node_count", 3), 400, "not enough backends: 1 more node needs a healthy backend without a node of the instance, there are 0"},
		"too few named":       {parameter("backends", []string{"b1"}), 400, "names 1, and the instance is to have 2 nodes"},
		"named twice":         {parameter("backends", []string{"b1", "b1"}), 400, "names one twice"},
		"unknown backend":     {parameter("backends", []string{"b1", "b9"}), 400, `there is no backend \"b9\"`},
		"nowhere to move":     {parameter("move_off", "b1"), 400, "not enough backends"},
		"unknown to move off": {parameter("move_off", "b9"), 400, `there is no backend \"b9\"`},
		"unknown parameter":   {parameter("nodes", 3), 400, `unknown parameter \"nodes\"`},
		"unknown extension":   {parameter("extensions", []string{"plpython3u"}), 400, `does not have \"plpython3u\"`},
		"unknown setting":     {setting("fsync", "off"), 400, "settings.fsync: can not be set"},
		"setting too high":    {setting("work_mem", "1GB"), 400, "settings.work_mem: must be an amount of memory such as 64MB from 64kB to 256MB"},
		"setting's type":      {setting("max_connections", "many"), 400, "settings.max_connections: must be an integer from 20 to 1000"},
		"unknown plan":        {map[string]any{"plan_id": "nonsense"}, 400, "not in the catalog"},
		"fixed plan":          {map[string]any{"plan_id": "fixed"}, 422, "PlanChangeNotSupported"},
		"too few for plan":    {map[string]any{"plan_id": haPlan, "parameters": map[string]any{"settings": map[string]any{"work_mem": nil}}}, 400, "work_mem: can not be set"},
		"setting of the plan": {map[string]any{"plan_id": haPlan}, 422, "plan ha does not take what the instance has: parameter settings.work_mem"},
		"another service":     {map[string]any{"service_id": "else"}, 400, "service_id"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.patch("i", test.body)
			if r.status != test.status || !strings.Contains(r.body, test.says) {
				t.Errorf("got %d %s, want %d and %q", r.status, r.body, test.status, test.says)
			}
		})
	}
	s.want(s.patch("nothing", map[string]any{}), 404)
	s.want(s.patch("i", map[string]any{"context": map[string]any{"platform": "x"}, "previous_values": map[string]any{"plan_id": clusterPlan}}), 200)
	synchronous := s.call("PATCH", instancePath("i"), map[string]any{"service_id": broker.ServiceID, "parameters": map[string]any{"restart": true}})
	if s.want(synchronous, 422); !strings.Contains(synchronous.body, "AsyncRequired") {
		t.Errorf("got %s", synchronous.body)
	}
	if got := string(s.instance("i").Context); got != `{"platform":"x"}` {
		t.Errorf("context is %s", got)
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

// An update that can not be carried out is taken back, and the instance is as
// it was.
func TestNodeThatNeverComesIsTakenBack(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3")
	s.provision("i", clusterPlan)
	s.hurry(700 * time.Millisecond)
	s.nodes.Slow("b3", true)
	r := s.ended("i", s.set("i", "node_count", 3), "failed")
	if why := r.field(t, "description"); !strings.Contains(why, "wait until the node on b3 follows the leader and has caught up: not done after 700ms: the node is") {
		t.Errorf("description %q does not say why", why)
	}
	if got := s.backendsOf("i"); got != "b1 b2" {
		t.Errorf("nodes are on %s", got)
	}
	op := s.instance("i").Operation
	if op.InstanceUsable == nil || !*op.InstanceUsable || op.UpdateRepeatable == nil || !*op.UpdateRepeatable {
		t.Errorf("usable %v, repeatable %v, want both", op.InstanceUsable, op.UpdateRepeatable)
	}
	s.want(s.call("PUT", bindingPath("i", "b"), order(clusterPlan)), http.StatusCreated)
	s.nodes.Slow("b3", false)
	s.done("i", s.set("i", "node_count", 3))
}

// hurry restarts the broker with another limit of a step.
func (s *site) hurry(limit time.Duration) {
	s.t.Helper()
	s.stop()
	s.config.UpdateTimeout = limit
	s.start()
}

func TestSilentRegistrarFailsAnUpdateThatNeedsIt(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3")
	s.provision("i", clusterPlan)
	s.hurry(700 * time.Millisecond)
	s.nodes.Silence("b3", true)
	r := s.ended("i", s.set("i", "node_count", 3), "failed")
	if why := r.field(t, "description"); !strings.Contains(why, "backend b3 has not begun yet") {
		t.Errorf("description %q does not say why", why)
	}
	// Its registrar may have begun: until it has removed the node, the record
	// names it.
	if got := s.backendsOf("i"); got != "b1 b2 b3" {
		t.Errorf("nodes are on %s", got)
	}
	s.nodes.Silence("b3", false)
	s.poll("the node is forgotten", func() bool { return s.backendsOf("i") == "b1 b2" })
}

func TestRefusedHandOver(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3", "b4")
	s.provision("i", clusterPlan)
	s.hurry(time.Second)
	s.nodes.Refuse(true)
	r := s.ended("i", s.set("i", "backends", []string{"b3", "b4"}), "failed")
	if why := r.field(t, "description"); !strings.Contains(why, "the leader refuses") {
		t.Errorf("description %q does not say why", why)
	}
	s.nodes.Refuse(false)
	// A platform that reverts sends what was before.
	s.done("i", s.patch("i", map[string]any{"plan_id": clusterPlan}))
	if got := s.cluster("i").Nodes; len(got) != 2 {
		t.Errorf("there are %d nodes, want 2 again", len(got))
	}
	s.done("i", s.set("i", "backends", []string{"b3", "b4"}))
	if got := s.backendsOf("i"); got != "b3 b4" {
		t.Errorf("nodes are on %s", got)
	}
}

func TestDeprovisionStopsUpdate(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3")
	s.provision("i", clusterPlan)
	s.nodes.Slow("b3", true)
	r := s.want(s.set("i", "node_count", 3), http.StatusAccepted)
	s.poll("the third node is there", func() bool { return len(s.cluster("i").Nodes) == 3 })
	s.deprovision("i", clusterPlan)
	if keys := s.keys(); len(keys) != 1 {
		t.Errorf("left in etcd: %q, want nextport alone", keys)
	}
	s.want(s.call("GET", instancePath("i")+"/last_operation?operation="+r.field(t, "operation"), nil), 404)
}

// A leader that fails over in the middle changes what there is to do, not what
// comes of it.
func TestLeaderChangesInTheMiddle(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3")
	s.provision("i", haPlan)
	s.nodes.Slow("b3", true)
	s.nodes.Lead("i", s.nodeOn("i", "b1"))
	s.poll("b1 leads", func() bool { return s.leader("i") == s.nodeOn("i", "b1") })
	r := s.want(s.set("i", "restart", true), http.StatusAccepted)
	s.poll("the update waits for b3", func() bool {
		step, _ := s.instance("i").Operation.Current()
		return step.Backend == "b3"
	})
	s.nodes.Lead("i", s.nodeOn("i", "b3"))
	s.nodes.Slow("b3", false)
	s.done("i", r)
	if c := s.cluster("i"); c.Restarts != 1 || len(c.Nodes) != 3 {
		t.Errorf("got %+v", c)
	}
}

func (s *site) nodeOn(id, backend string) string {
	s.t.Helper()
	for _, n := range s.cluster(id).Nodes {
		if n.BackendID == backend {
			return n.NodeID
		}
	}
	s.t.Fatalf("no node of %s is on %s", id, backend)
	return ""
}
