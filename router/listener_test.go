package router_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

var (
	pid      = os.Getpid()
	loopback = netip.MustParseAddr("127.0.0.1")
	self     = "127.0.0.1@-@" + strconv.Itoa(pid)
)

// occupy listens on a port in the router's place.
func occupy(t *testing.T, port int) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func isOpen(port int) bool {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		conn.Close()
	}
	return err == nil
}

func TestListenersComeAndGo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, _, _ := s.cluster("a")
	s.start(router.Config{Listen: loopback})
	eventually(t, "the first port is open", func() bool { return isOpen(first) })
	second, _, _ := s.cluster("b")
	eventually(t, "the second port is open", func() bool { return isOpen(second) })
	conn := open(t, second)
	s.remove(state.AllocationKey("a"))
	eventually(t, "the first port is closed", func() bool { return !isOpen(first) })
	ask(t, conn, "who")
	// The port goes to another instance in one step, as when one is deleted and
	// the next is made.
	s.cluster("c")
	s.put(state.AllocationKey("c"), strconv.Itoa(first))
	eventually(t, "the first port is open again", func() bool { return isOpen(first) })
	if got := ask(t, open(t, first), "who"); got != "c-n1" {
		t.Errorf("the port leads to %s, want c-n1", got)
	}
}

// An instance that is given another port keeps its sessions.
func TestPortIsReplaced(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	before, _, _ := s.cluster("a")
	s.start(router.Config{})
	conn := open(t, before)
	after := s.allocate("a")
	eventually(t, "the new port is open and the old one closed", func() bool { return isOpen(after) && !isOpen(before) })
	ask(t, conn, "who")
}

func TestBusyPortIsToldAndMended(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	busy, _, _ := s.cluster("a")
	taken := occupy(t, busy)
	other, _, _ := s.cluster("b")
	key := state.UnboundKey(busy, self)
	r := s.start(router.Config{})
	if got := ask(t, open(t, other), "who"); got != "b-n1" {
		t.Errorf("the other port leads to %s, want b-n1", got)
	}
	eventually(t, "the busy port is told", func() bool { _, _, ok := s.get(key); return ok })
	reason, lease, _ := s.get(key)
	if !strings.Contains(reason, "address already in use") || lease == 0 {
		t.Errorf("told is %q under lease %d, want the reason under a lease", reason, lease)
	}
	if h := r.Health(); len(h.Unbound) != 1 || h.Unbound[0].Port != busy {
		t.Errorf("health tells of unbound ports %v, want %d", h.Unbound, busy)
	}
	if got := r.metric(t, "pgpatron_router_unbound_ports"); got != 1 {
		t.Errorf("%v unbound ports are told, want 1", got)
	}
	taken.Close()
	eventually(t, "the report is taken back", func() bool { _, _, ok := s.get(key); return !ok })
	if got := ask(t, open(t, busy), "who"); got != "a-n1" {
		t.Errorf("the mended port leads to %s, want a-n1", got)
	}
	if h := r.Health(); len(h.Unbound) != 0 {
		t.Errorf("health still tells of unbound ports %v", h.Unbound)
	}
}

// The broker takes another port while the instance is being made.
func TestBusyPortIsGivenUp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	busy, _, _ := s.cluster("a")
	occupy(t, busy)
	key := state.UnboundKey(busy, self)
	s.start(router.Config{})
	eventually(t, "the busy port is told", func() bool { _, _, ok := s.get(key); return ok })
	port := s.allocate("a")
	dial(t, port)
	ask(t, open(t, port), "who")
	eventually(t, "the report is taken back", func() bool { _, _, ok := s.get(key); return !ok })
}

func TestBadAllocationsHarmNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for id, port := range map[string]string{"zero": "0", "huge": "70000", "text": "x", "negative": "-1"} {
		s.put(state.AllocationKey(id), port)
	}
	port, _, _ := s.cluster("a")
	s.start(router.Config{})
	ask(t, open(t, port), "who")
}

func TestOwnKeyIsKept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	key := state.RouterKey("127.0.0.1", pid)
	r := s.start(router.Config{SessionTTL: time.Second})
	leased := func() bool { _, lease, ok := s.get(key); return ok && lease != 0 }
	eventually(t, "the router is registered", leased)
	if value, _, _ := s.get(key); value != "" {
		t.Errorf("the router registers with %q, want nothing", value)
	}
	s.put(key, "DISABLED")
	eventually(t, "the key is under the lease again", leased)
	if value, _, _ := s.get(key); value != "DISABLED" {
		t.Errorf("the repaired key holds %q, want DISABLED", value)
	}
	_, lease, _ := s.get(key)
	if _, err := s.client.Revoke(t.Context(), clientv3.LeaseID(lease)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key is under another lease", func() bool { _, now, ok := s.get(key); return ok && now != lease && now != 0 })
	if value, _, _ := s.get(key); value != "DISABLED" {
		t.Errorf("after the loss of its session the key holds %q, want DISABLED", value)
	}
	r.stop()
	if _, _, ok := s.get(key); ok {
		t.Error("the key outlives the router")
	}
}

// Two routers of one name do not fight over their key for ever.
func TestTwoRoutersOfOneName(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	key := state.RouterKey("127.0.0.1", pid)
	s.start(router.Config{})
	eventually(t, "the first is registered", func() bool { _, _, ok := s.get(key); return ok })
	_, first, _ := s.get(key)
	s.start(router.Config{})
	eventually(t, "the second is registered", func() bool { _, now, ok := s.get(key); return ok && now != first })
	time.Sleep(500 * time.Millisecond)
	resp, err := s.client.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if n := resp.Kvs[0].Version; n > 4 {
		t.Errorf("the key was written %d times, want each to take it once or twice", n)
	}
}
