package broker_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

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

// A host that is down holds up no update that moves off it. What it has is
// removed when it is back.
func TestMoveOffADeadHost(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3")
	s.provision("i", clusterPlan)
	gone := s.cluster("i").Nodes[1].BackendID
	s.hurry(2 * time.Second)
	s.nodes.Silence(gone, true)
	s.done("i", s.set("i", "move_off", gone))
	if op := s.instance("i").Operation; op.Description != "updated: 2 nodes at port 30000" {
		t.Errorf("description is %q", op.Description)
	}
	if got := s.backendsOf("i"); got != "b1 b2 b3" {
		t.Errorf("the record names nodes on %s: what may still run must stay in it", got)
	}
	kept := slices.DeleteFunc([]string{"b1", "b2", "b3"}, func(b string) bool { return b == s.backendWith("i", s.leader("i")) || b == gone })
	r := s.want(s.set("i", "backends", []string{gone, kept[0]}), http.StatusBadRequest)
	if !strings.Contains(r.body, "is still being removed") {
		t.Errorf("got %s", r.body)
	}
	s.nodes.Silence(gone, false)
	s.poll("the node is forgotten", func() bool { return !strings.Contains(s.backendsOf("i"), gone) })
	s.done("i", s.set("i", "backends", []string{gone, kept[0]}))
}

// backendWith returns where a node is.
func (s *site) backendWith(id, node string) string {
	s.t.Helper()
	n, ok := s.cluster(id).Node(node)
	if !ok {
		s.t.Fatalf("%s has no node %s", id, node)
	}
	return n.BackendID
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

// What PostgreSQL refuses for good ends an update at once, with its reason.
func TestRefusedExtensionFailsTheUpdate(t *testing.T) {
	s := newSite(t, "b1")
	s.provision("i", singlePlan)
	s.done("i", s.set("i", "extensions", []string{"hstore"}))
	s.database.inUse = "hstore"
	r := s.ended("i", s.set("i", "extensions", []string{"citext"}), "failed")
	if got := r.field(t, "description"); got != "make the database's extensions citext: extension hstore is in use" {
		t.Errorf("description is %q", got)
	}
	if got := strings.Join(s.cluster("i").Extensions, " "); got != "hstore" {
		t.Errorf("the record names %s", got)
	}
	if r := s.call("GET", instancePath("i"), nil); !strings.Contains(r.body, `"parameters":{"extensions":["hstore"]}`) {
		t.Errorf("instance shows %s", r.body)
	}
}

// A container that can not be made anew stays what it was.
func TestMissingImageIsTakenBack(t *testing.T) {
	s := newSite(t, "b1", "b2")
	s.provision("i", clusterPlan)
	s.config.Image = "image:2"
	s.hurry(700 * time.Millisecond)
	s.nodes.Miss("image:2")
	r := s.ended("i", s.patch("i", map[string]any{"maintenance_info": map[string]any{"version": "2"}}), "failed")
	if got := r.field(t, "description"); !strings.Contains(got, "with image image:2: not done after 700ms: image image:2 is not on this host") {
		t.Errorf("description is %q", got)
	}
	for _, n := range s.cluster("i").Nodes {
		if n.Spec != nil {
			t.Errorf("a node is to be made from %+v", n.Spec)
		}
	}
	if usable := s.instance("i").Operation.InstanceUsable; usable == nil || !*usable {
		t.Error("the instance is said not to be usable")
	}
}

// A database that takes no writes after an update was taken back is not called
// usable.
func TestUnusableAfterAFailedUpdate(t *testing.T) {
	s := newSite(t, "b1")
	s.provision("i", singlePlan)
	s.hurry(700 * time.Millisecond)
	s.database.setDown(true)
	s.ended("i", s.set("i", "extensions", []string{"hstore"}), "failed")
	if usable := s.instance("i").Operation.InstanceUsable; usable == nil || *usable {
		t.Error("the instance is said to be usable")
	}
	s.database.setDown(false)
	s.done("i", s.set("i", "extensions", []string{"hstore"}))
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
