package broker_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// replacing restarts the broker with another patience with silent backends.
func (s *site) replacing(after time.Duration) {
	s.t.Helper()
	s.stop()
	s.config.ReplaceAfter = after
	s.start()
}

// A host that does not come back loses its nodes to another. When it does come
// back after all, what it still has is removed.
func TestDeadHostIsReplaced(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3")
	s.provision("i", clusterPlan)
	gone := s.otherThan(s.backendWith("i", s.leader("i")))
	s.replacing(time.Second)
	s.nodes.Die(gone, true)
	s.poll("a node elsewhere has taken over", func() bool { return s.staying("i", gone) == 2 })
	s.nodes.Die(gone, false)
	s.poll("what the dead host had is forgotten", func() bool { return !strings.Contains(s.backendsOf("i"), gone) })
}

// The last copy is not given up: not a node alone, and none of a cluster whose
// leader is on the silent host. A node beside them is replaced.
func TestLastCopyIsNotReplaced(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3")
	s.provision("led", clusterPlan)
	s.provision("alone", singlePlan)
	s.provision("i", clusterPlan)
	gone := s.backendWith("led", s.leader("led"))
	var others []string
	for _, b := range []string{"b1", "b2", "b3"} {
		if b != gone {
			others = append(others, b)
		}
	}
	s.moveTo("alone", gone)
	s.moveTo("i", gone, others[0])
	s.nodes.Lead("i", s.nodeOn("i", others[0]))
	s.poll("the other one leads", func() bool { return s.leader("i") == s.nodeOn("i", others[0]) })
	s.replacing(time.Second)
	s.nodes.Die(gone, true)
	s.poll("a node of i is replaced", func() bool { return s.staying("i", gone) == 2 })
	for _, id := range []string{"led", "alone"} {
		if c := s.cluster(id); !strings.Contains(s.backendsOf(id), gone) || slices.ContainsFunc(c.Nodes, func(n state.Node) bool { return n.Removed }) {
			t.Errorf("%s has lost its last copy: %+v", id, c.Nodes)
		}
	}
}

// moveTo has an instance's nodes on these backends.
func (s *site) moveTo(id string, backends ...string) {
	s.t.Helper()
	if s.backendsOf(id) == strings.Join(slices.Sorted(slices.Values(backends)), " ") {
		return
	}
	s.done(id, s.set(id, "backends", backends))
}

// otherThan returns where the instance i has its other node.
func (s *site) otherThan(backend string) string {
	s.t.Helper()
	for _, n := range s.cluster("i").Nodes {
		if n.BackendID != backend {
			return n.BackendID
		}
	}
	s.t.Fatal("there is one node alone")
	return ""
}

// staying counts an instance's nodes that stay, other than on a backend.
func (s *site) staying(id, but string) int {
	s.t.Helper()
	count := 0
	for _, n := range s.cluster(id).Nodes {
		if !n.Removed && n.BackendID != but {
			count++
		}
	}
	return count
}
