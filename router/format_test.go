package router_test

import (
	"testing"

	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// What a later program writes takes no route away: sessions go on, and new ones
// come through.
func TestRecordThatIsTooNewStaysRouted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, _, _ := s.cluster("a")
	s.put(state.ClusterKey("a"), `{"version":1,"instance_id":"a","nodes":[]}`)
	s.start(router.Config{})
	before := open(t, port)
	ask(t, before, "write")
	s.put(state.ClusterKey("a"), `{"version":2,"nodes":"elsewhere","max_sessions":"many"}`)
	s.put(state.FormatKey(), "2")
	s.put(state.ClusterKey("b"), `{"version":2,"nodes":"elsewhere"}`)
	later, _, _ := s.cluster("b")
	eventually(t, "the new instance is served", func() bool { return isOpen(later) })
	if who := ask(t, open(t, later), "who"); who != "b-n1" {
		t.Errorf("the port of the new instance leads to %s", who)
	}
	if who := ask(t, before, "who"); who != "a-n1" {
		t.Errorf("the session leads to %s", who)
	}
	if who := ask(t, open(t, port), "who"); who != "a-n1" {
		t.Errorf("a new session leads to %s", who)
	}
}
