package router_test

import (
	"errors"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// threesome is an instance with a read-only port, a leader and two replicas.
func (s *site) threesome(id string) (port, reads int, nodes [3]*node) {
	s.t.Helper()
	for i := range nodes {
		n := newNode(s.t, id+"-n"+strconv.Itoa(i))
		nodes[i] = n
		n.wal.Store(1 << 30)
		if i > 0 {
			n.mode.Store(replica)
			n.pg.SetReadOnly(true)
		}
		s.announce(id, n)
	}
	s.lead(id, nodes[0])
	port, reads = s.allocate(id), freePort(s.t)
	s.put(state.ReadOnlyKey(id), strconv.Itoa(reads))
	return port, reads, nodes
}

// askedOf opens readers and returns how many each node serves.
func askedOf(t *testing.T, port, readers int) map[string]int {
	t.Helper()
	served := map[string]int{}
	for range readers {
		served[ask(t, open(t, port), "who")]++
	}
	return served
}

// servedBy waits until new readers are served by one node.
func servedBy(t *testing.T, port int, name string) {
	t.Helper()
	eventually(t, "readers are served by "+name, func() bool {
		conn := open(t, port)
		defer conn.Close(t.Context())
		return ask(t, conn, "who") == name
	})
}

func TestReadersAreSpreadOverReplicas(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, reads, _ := s.threesome("a")
	r := s.start(router.Config{})
	if served := askedOf(t, reads, 6); served["a-n1"] != 3 || served["a-n2"] != 3 {
		t.Errorf("readers are served by %v, want three each", served)
	}
	if got := ask(t, open(t, port), "who"); got != "a-n0" {
		t.Errorf("the first port leads to %s, want a-n0", got)
	}
	if got := r.metric(t, "pgpatron_router_reads_by_leader_total"); got != 0 {
		t.Errorf("%v readers were led to the leader, want none", got)
	}
}

// Every way for a replica not to be fit for new readers.
func TestReplicaLosesNewReaders(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(s *site, nodes [3]*node){
		"does not stream": func(_ *site, nodes [3]*node) { nodes[1].stalled.Store(true) },
		"too many bytes behind": func(_ *site, nodes [3]*node) {
			nodes[0].wal.Store(1<<30 + 17<<20)
			nodes[2].wal.Store(1<<30 + 17<<20)
		},
		"too long behind": func(_ *site, nodes [3]*node) {
			nodes[0].wal.Store(1<<30 + 1000)
			nodes[2].wal.Store(1<<30 + 1000)
		},
		"Patroni is silent":  func(_ *site, nodes [3]*node) { nodes[1].rest.Close() },
		"PostgreSQL is gone": func(_ *site, nodes [3]*node) { nodes[1].pg.Stop() },
		"says it is stopped": func(s *site, nodes [3]*node) { s.announceAs("a", nodes[1], map[string]any{"state": "stopped"}) },
		"member key goes":    func(s *site, nodes [3]*node) { s.remove(state.MemberKey("a", "a-n1")) },
		"node switched off":  func(s *site, _ [3]*node) { s.put(state.DatasourceKey("a", "a-n1"), "DISABLED") },
		"backend switched off": func(s *site, _ [3]*node) {
			s.put(state.CordonKey("10.0.0.1"), " disabled\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.put(state.ClusterKey("a"), `{"nodes":[{"node_id":"a-n1","backend_id":"10.0.0.1"},{"node_id":"a-n2","backend_id":"10.0.0.2"}]}`)
			_, reads, nodes := s.threesome("a")
			s.start(router.Config{MaxLagTime: time.Second, BreakGrace: time.Minute})
			if served := askedOf(t, reads, 2); served["a-n1"] != 1 {
				t.Fatalf("before, readers are served by %v, want one each", served)
			}
			spoil(s, nodes)
			eventually(t, "new readers go elsewhere", func() bool {
				served := askedOf(t, reads, 4)
				return served["a-n2"] == 4
			})
		})
	}
}

func TestReadersFallBackToLeader(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, reads, nodes := s.threesome("a")
	nodes[1].stalled.Store(true)
	nodes[2].stalled.Store(true)
	r := s.start(router.Config{})
	conn := open(t, reads)
	if got := ask(t, conn, "who"); got != "a-n0" {
		t.Errorf("without replicas a reader is served by %s, want the leader", got)
	}
	if got := r.metric(t, "pgpatron_router_reads_by_leader_total"); got != 1 {
		t.Errorf("%v readers are told to have been led to the leader, want 1", got)
	}
	nodes[1].stalled.Store(false)
	servedBy(t, reads, "a-n1")
	// It might have written: it goes with the leader.
	s.lead("a", nodes[1])
	if err := ended(t, conn.Conn()); err == io.EOF {
		t.Errorf("reader of a deposed leader ended with %v, want a reset", err)
	}
}

func TestReadersMayBeRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, reads, nodes := s.threesome("a")
	nodes[1].stalled.Store(true)
	nodes[2].stalled.Store(true)
	s.start(router.Config{ReplicaFallback: router.RefuseReaders})
	dial(t, reads)
	_, err := login(t.Context(), reads, "sslmode=disable")
	if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "57P03" {
		t.Errorf("without replicas a reader gets %v, want 57P03", err)
	}
}

// The readers of a replica that fell behind stay for the grace, and no longer.
func TestReadersOfUnfitReplicaLeaveAfterGrace(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, reads, nodes := s.threesome("a")
	nodes[2].stalled.Store(true)
	s.start(router.Config{ReplicaGrace: 2 * time.Second})
	servedBy(t, reads, "a-n1")
	conn := open(t, reads)
	ask(t, conn, "who")
	nodes[1].stalled.Store(true)
	servedBy(t, reads, "a-n0")
	ask(t, conn, "who")
	if err := ended(t, conn.Conn()); err == io.EOF {
		t.Errorf("reader ended with %v, want a reset", err)
	}
	nodes[1].stalled.Store(false)
	servedBy(t, reads, "a-n1")
}

func TestReadOnlyPortComesAndGoes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, reads, _ := s.threesome("a")
	s.start(router.Config{})
	reader, writer := open(t, reads), open(t, port)
	s.remove(state.ReadOnlyKey("a"))
	if err := ended(t, reader.Conn()); err == io.EOF {
		t.Errorf("reader ended with %v, want a reset", err)
	}
	eventually(t, "the port is closed", func() bool { return !isOpen(reads) })
	ask(t, writer, "who")
	s.put(state.ReadOnlyKey("a"), strconv.Itoa(reads))
	eventually(t, "the port is open again", func() bool { return isOpen(reads) })
	ask(t, open(t, reads), "who")
}

// The record of an instance says how many clients it may have.
func TestLimitOfTheRecord(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.put(state.ClusterKey("a"), `{"max_sessions":1}`)
	port, reads, _ := s.threesome("a")
	s.start(router.Config{})
	open(t, port)
	for _, p := range []int{port, reads} {
		if refused := refusedWith(t, p, "sslmode=disable"); refused.Code != "53300" {
			t.Errorf("refused with %s, want 53300", refused.Code)
		}
	}
}
