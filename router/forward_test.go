package router_test

import (
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// New connections wait while a port is held, sessions go on; then they reach the
// leader that there was.
func TestHeldPort(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, n1, _ := s.cluster("a")
	r := s.start(router.Config{})
	before := open(t, port)
	ask(t, before, "write")
	s.put(state.ForwardKey("a"), `{"hold":true}`)
	var later <-chan *pgconn.PgConn
	eventually(t, "the router holds", func() bool {
		if later == nil {
			later = opening(t, port)
		}
		select {
		case conn := <-later: // it came before the router knew
			closing(t, conn)
			later = nil
			return false
		default:
			return r.metric(t, "pgpatron_router_held") == 1
		}
	})
	if who := ask(t, before, "who"); who != "a-n1" || n1.pg.Sessions() == 0 {
		t.Errorf("the session leads to %s", who)
	}
	s.remove(state.ForwardKey("a"))
	conn := <-later
	closing(t, conn)
	if who := ask(t, conn, "who"); who != "a-n1" {
		t.Errorf("held connection leads to %s, want a-n1", who)
	}
}

// A port that is forwarded leads to another site's router, whoever leads here:
// sessions to the old leader are cut, and connections wait until somebody listens
// there and has a leader.
func TestForwardedPort(t *testing.T) {
	t.Parallel()
	s, there := newSite(t), newSite(t)
	port, n1, _ := s.cluster("a")
	r := s.start(router.Config{})
	ask(t, open(t, port), "write")
	portThere := freePort(t)
	s.put(state.ForwardKey("a"), fmt.Sprintf(`{"to":%q}`, net.JoinHostPort("127.0.0.1", strconv.Itoa(portThere))))
	eventually(t, "the old leader is cut off", func() bool { return n1.pg.Sessions() == 0 })
	conn := held(t, r, port, 1)
	there.start(router.Config{})
	m1 := newNode(t, "m1")
	there.put(state.AllocationKey("a"), strconv.Itoa(portThere))
	there.lead("a", m1)
	there.announce("a", m1)
	got := <-conn
	closing(t, got)
	if who := ask(t, got, "who"); who != "m1" {
		t.Errorf("forwarded connection leads to %s, want m1", who)
	}
	for _, key := range []string{state.LeaderKey("a"), state.MemberKey("a", "n1"), state.MemberKey("a", "n2")} {
		s.remove(key)
	}
	if who := ask(t, open(t, port), "who"); who != "m1" {
		t.Errorf("without nodes of its own the port leads to %s, want m1", who)
	}
	s.remove(state.AllocationKey("a"))
	eventually(t, "the port is closed", func() bool {
		_, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		return err != nil
	})
}
