package router_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// followed waits until a router has followed all that is in etcd.
func (s *site) followed() {
	s.t.Helper()
	later := s.allocate("marker")
	eventually(s.t, "the marker's port is open", func() bool { return isOpen(later) })
	s.remove(state.AllocationKey("marker"))
}

// readersOf opens readers until each replica has one.
func readersOf(t *testing.T, port int, names ...string) map[string]*pgconn.PgConn {
	t.Helper()
	conns := map[string]*pgconn.PgConn{}
	for range names {
		conn := open(t, port)
		conns[ask(t, conn, "who")] = conn
	}
	for _, name := range names {
		if conns[name] == nil {
			t.Fatalf("readers are served by %v, want one by each of %v", conns, names)
		}
	}
	return conns
}

// The ways to rest the replica a-n1, and to wake it.
var rests = map[string]struct{ rest, wake func(s *site) }{
	"node": {
		func(s *site) { s.put(state.DatasourceKey("a", "a-n1"), " disabled") },
		func(s *site) { s.put(state.DatasourceKey("a", "a-n1"), "") },
	},
	"node, key deleted": {
		func(s *site) { s.put(state.DatasourceKey("a", "a-n1"), "DISABLED") },
		func(s *site) { s.remove(state.DatasourceKey("a", "a-n1")) },
	},
	"backend": {
		func(s *site) { s.put(state.CordonKey("10.0.0.1"), "DISABLED") },
		func(s *site) { s.remove(state.CordonKey("10.0.0.1")) },
	},
}

func (s *site) placed() {
	s.put(state.ClusterKey("a"), `{"nodes":[{"node_id":"a-n0","backend_id":"10.0.0.0"},{"node_id":"a-n1","backend_id":"10.0.0.1"},{"node_id":"a-n2","backend_id":"10.0.0.2"}]}`)
}

// A replica that rests gets no readers from the next Tick on; the ones it has stay
// for the grace, and nobody else notices.
func TestRestingReplica(t *testing.T) {
	t.Parallel()
	for name, way := range rests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.placed()
			port, reads, _ := s.threesome("a")
			s.start(router.Config{BreakGrace: 10 * time.Second})
			writer, readers := open(t, port), readersOf(t, reads, "a-n1", "a-n2")
			way.rest(s)
			s.followed()
			if served := askedOf(t, reads, 4); served["a-n2"] != 4 {
				t.Errorf("readers are served by %v, want all by a-n2", served)
			}
			ask(t, readers["a-n1"], "who")
			if err := ended(t, readers["a-n1"].Conn()); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the reader of the resting replica ended with %v, want a reset", err)
			}
			ask(t, readers["a-n2"], "who")
			ask(t, writer, "who")
			way.wake(s)
			s.followed()
			if got := ask(t, open(t, reads), "who"); got != "a-n1" {
				t.Errorf("a reader is served by %s, want a-n1, which has none", got)
			}
		})
	}
}

// Without a grace readers go at once.
func TestRestingReplicaWithoutGrace(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, reads, _ := s.threesome("a")
	s.start(router.Config{})
	writer, readers := open(t, port), readersOf(t, reads, "a-n1", "a-n2")
	s.put(state.DatasourceKey("a", "a-n1"), "DISABLED")
	ended(t, readers["a-n1"].Conn())
	ask(t, readers["a-n2"], "who")
	ask(t, writer, "who")
}

// Who wakes a replica within the grace has changed nothing.
func TestShortRestChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, reads, _ := s.threesome("a")
	s.start(router.Config{BreakGrace: time.Minute})
	readers := readersOf(t, reads, "a-n1", "a-n2")
	key := state.DatasourceKey("a", "a-n1")
	for range 3 {
		s.put(key, "DISABLED")
		s.followed()
		s.put(key, "")
		s.followed()
		readersOf(t, reads, "a-n1", "a-n2")
	}
	for name, conn := range readers {
		if got := ask(t, conn, "who"); got != name {
			t.Errorf("the reader of %s is served by %s", name, got)
		}
	}
}

// A node that rests leads like any other, and rests again when it follows.
func TestRestingReplicaIsPromoted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, reads, nodes := s.threesome("a")
	s.start(router.Config{})
	s.put(state.DatasourceKey("a", "a-n1"), "DISABLED")
	s.followed()
	promote := func(next, old *node) {
		old.mode.Store(replica)
		next.mode.Store(primary)
		s.lead("a", next)
		s.followed()
		if got := ask(t, open(t, port), "who"); got != next.name {
			t.Errorf("the port leads to %s, want %s", got, next.name)
		}
	}
	promote(nodes[1], nodes[0])
	servedBy(t, reads, "a-n0") // which is found fit within a second
	if served := askedOf(t, reads, 4); served["a-n1"] != 0 {
		t.Errorf("readers are served by %v, want none by the leader", served)
	}
	promote(nodes[0], nodes[1])
	if served := askedOf(t, reads, 4); served["a-n1"] != 0 {
		t.Errorf("readers are served by %v, want none by the node that rests", served)
	}
}

// When every replica rests there are still readers: the leader's.
func TestAllReplicasRest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, reads, _ := s.threesome("a")
	r := s.start(router.Config{})
	for _, name := range []string{"a-n1", "a-n2"} {
		s.put(state.DatasourceKey("a", name), "DISABLED")
	}
	s.followed()
	if served := askedOf(t, reads, 2); served["a-n0"] != 2 {
		t.Errorf("readers are served by %v, want both by the leader", served)
	}
	if got := r.metric(t, "pgpatron_router_reads_by_leader_total"); got != 2 {
		t.Errorf("%v readers are told to have been led to the leader, want 2", got)
	}
	ask(t, open(t, port), "who")
}

// A reader that has called a replica which does not answer is not kept waiting
// when that is put to rest.
func TestJoiningReaderGoesElsewhere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, reads, nodes := s.threesome("a")
	deaf := newNodeAt(t, "a-n1", "192.0.2.1:5432") // of an address that nobody has
	deaf.mode.Store(replica)
	deaf.wal.Store(1 << 30)
	s.announce("a", deaf)
	nodes[2].stalled.Store(true)
	s.start(router.Config{DialTimeout: time.Minute})
	served := make(chan string, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), fixtures.Patience)
		defer cancel()
		conn, err := login(ctx, reads, "sslmode=disable")
		if err != nil {
			t.Errorf("reader: %v", err)
			served <- ""
			return
		}
		defer conn.Close(ctx)
		served <- ask(t, conn, "who")
	}()
	eventually(t, "the replica is looked at", func() bool { return deaf.asked.Load() > 1 })
	s.put(state.DatasourceKey("a", "a-n1"), "DISABLED")
	if got := <-served; got != "a-n0" {
		t.Errorf("the reader is served by %q, want the leader", got)
	}
}
