package kernel_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// While the circuit of its router is broken the kernel leads nobody. Who is led
// already stays for the grace, and for good if the circuit is closed before.
func brokenCircuitLeadsNobody(t *testing.T, s *site) {
	s.Lead(s.pg[0])
	s.stop()
	s.startRouter(router.Config{BreakGrace: time.Minute, LeaveRules: true})
	eventually(t, "the kernel leads", func() bool { return s.leads(s.portNumber()) })
	kept := s.session()
	s.turn("DISABLED")
	eventually(t, "the kernel leads no more", func() bool { return !s.leads(s.portNumber()) })
	s.expectBroken()
	s.expectAlive(kept)
	s.turn("")
	eventually(t, "the kernel leads again", func() bool { return s.leads(s.portNumber()) })
	s.expectServer(0)
	s.expectAlive(kept)
	s.stop()
	s.startRouter(router.Config{BreakGrace: time.Second, LeaveRules: true})
	s.expectServer(0)
	s.expectAlive(kept)
	s.turn("DISABLED")
	s.expectReset(kept.Conn())
	s.expectBroken()
	s.turn("")
	eventually(t, "the kernel leads again", func() bool { return s.leads(s.portNumber()) })
	s.expectServer(0)
}

// A router that starts broken takes over what an earlier one has left, and leads
// nobody else.
func routerStartsBroken(t *testing.T, s *site) {
	s.Lead(s.pg[0])
	s.stop()
	s.startRouter(router.Config{LeaveRules: true})
	eventually(t, "the kernel leads", func() bool { return s.leads(s.portNumber()) })
	startBroken := func(grace time.Duration) {
		s.stop()
		s.turn("DISABLED")
		s.startRouter(router.Config{LeaveRules: true, BreakGrace: grace})
	}
	for _, grace := range []time.Duration{0, time.Second} {
		kept := s.session()
		startBroken(time.Minute)
		eventually(t, "the kernel leads no more", func() bool { return !s.leads(s.portNumber()) })
		s.expectBroken()
		s.expectAlive(kept)
		startBroken(grace)
		s.expectReset(kept.Conn())
		s.expectBroken()
		s.turn("")
		eventually(t, "the kernel leads again", func() bool { return s.leads(s.portNumber()) })
		s.expectServer(0)
	}
}

// turn writes the switch of the site's router.
func (s *site) turn(value string) {
	s.t.Helper()
	if _, err := s.etcd.Put(s.t.Context(), state.RouterKey("10.91.1.1", os.Getpid()), value); err != nil {
		s.t.Fatal(err)
	}
}

// session opens a session that a NAT is in the way of.
func (s *site) session() *pgconn.PgConn {
	s.t.Helper()
	conn, err := s.connect("natted")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (s *site) expectAlive(conn *pgconn.PgConn) {
	s.t.Helper()
	if _, err := conn.Exec(s.t.Context(), "SELECT 1").ReadAll(); err != nil {
		s.t.Errorf("a session from before ends with %v", err)
	}
}

// expectBroken checks that a new session is told of the broken circuit.
func (s *site) expectBroken() {
	s.t.Helper()
	conn, err := s.connect("direct")
	if err == nil {
		conn.Close(context.Background())
	}
	want := "circuit break mode is ON for router instance 10.91.1.1@-@" + strconv.Itoa(os.Getpid())
	if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "57P03" || refused.Message != want {
		s.t.Errorf("a new session gets %v, want 57P03 %q", err, want)
	}
}
