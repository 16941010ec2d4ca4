package kernel_test

import (
	"testing"

	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// A router that starts while a port is held, as a move does it, takes over what an
// earlier one has left, and leads nobody else.
func routerStartsHeld(t *testing.T, s *site) {
	s.Lead(s.pg[0])
	s.stop()
	s.startRouter(router.Config{LeaveRules: true})
	eventually(t, "the kernel leads", func() bool { return s.leads(s.portNumber()) })
	kept := s.session()
	s.stop()
	if _, err := s.etcd.Put(t.Context(), state.ForwardKey("a"), `{"hold":true}`); err != nil {
		t.Fatal(err)
	}
	s.startRouter(router.Config{LeaveRules: true})
	eventually(t, "the kernel leads no more", func() bool { return !s.leads(s.portNumber()) })
	s.expectAlive(kept)
	if _, err := s.etcd.Delete(t.Context(), state.ForwardKey("a")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the kernel leads again", func() bool { return s.leads(s.portNumber()) })
	s.expectServer(0)
	s.expectAlive(kept)
}
