package router_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// cluster is an instance with a port and two nodes, of which n1 leads.
func (s *site) cluster(id string) (port int, n1, n2 *node) {
	s.t.Helper()
	n1, n2 = newNode(s.t, id+"-n1"), newNode(s.t, id+"-n2")
	s.announce(id, n1)
	s.announce(id, n2)
	s.lead(id, n1)
	return s.allocate(id), n1, n2
}

func TestRoutesToLeader(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, _, _ := s.cluster("a")
	other, _, _ := s.cluster("b/c")
	r := s.start(router.Config{})
	if got := ask(t, open(t, port), "who"); got != "a-n1" {
		t.Errorf("port of a leads to %s, want a-n1", got)
	}
	conn := open(t, other)
	if got := ask(t, conn, "who"); got != "b/c-n1" {
		t.Errorf("port of b/c leads to %s, want b/c-n1", got)
	}
	if got := r.metric(t, `pgpatron_router_sessions{instance="b/c"}`); got != 1 {
		t.Errorf("%v sessions of b/c are told, want 1", got)
	}
	conn.Close(t.Context())
	eventually(t, "the session is over", func() bool { return r.metric(t, `pgpatron_router_sessions{instance="b/c"}`) == 0 })
	if got := r.metric(t, `pgpatron_router_sessions_total{instance="b/c"}`); got != 1 {
		t.Errorf("%v sessions of b/c were counted, want 1", got)
	}
}

func TestFollowsLeaderAndCutsSessionsAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, _, n2 := s.cluster("a")
	r := s.start(router.Config{})
	idle, waiting := open(t, port), open(t, port)
	waited := make(chan error, 1)
	go func() { waited <- waiting.Exec(context.Background(), "wait").Close() }()
	ask(t, idle, "who")
	s.lead("a", n2)
	idle.Conn().SetDeadline(time.Now().Add(fixtures.Patience))
	if err := ended(t, idle.Conn()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("idle session ended with %v, want a reset", err)
	}
	if err := <-waited; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("session that waits for an answer ended with %v, want a reset", err)
	}
	if got := ask(t, open(t, port), "who"); got != "a-n2" {
		t.Errorf("after the change the port leads to %s, want a-n2", got)
	}
	if got := r.metric(t, `pgpatron_router_sessions_cut_total{instance="a"}`); got != 2 {
		t.Errorf("%v sessions cut are told, want 2", got)
	}
	if got := r.metric(t, `pgpatron_router_leader_changes_total{instance="a"}`); got != 2 {
		t.Errorf("%v changes of leader are told, want 2", got)
	}
}

// Every way for a leader to lose its place cuts its sessions on both sides.
func TestCuts(t *testing.T) {
	t.Parallel()
	for name, depose := range map[string]func(s *site, n1 *node){
		"leader key goes": func(s *site, _ *node) { s.remove(state.LeaderKey("a")) },
		"leader's address changes": func(s *site, n1 *node) {
			moved := newNodeAt(s.t, n1.name, fixtures.NewPostgres(s.t, "elsewhere").Addr())
			s.announce("a", moved)
		},
		"allocation goes": func(s *site, _ *node) { s.remove(state.AllocationKey("a")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			port, n1, _ := s.cluster("a")
			s.start(router.Config{})
			conn := open(t, port)
			depose(s, n1)
			if err := ended(t, conn.Conn()); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("session ended with %v, want a reset", err)
			}
			eventually(t, "the server's side is cut", func() bool { return n1.pg.Sessions() == 0 })
		})
	}
}

// What does not move the leader cuts nobody.
func TestKeepsSessions(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *site, n1, n2 *node){
		"leader takes the key again": func(s *site, n1, _ *node) { s.lead("a", n1) },
		"member key goes":            func(s *site, n1, _ *node) { s.remove(state.MemberKey("a", n1.name)) },
		"member is garbage":          func(s *site, n1, _ *node) { s.put(state.MemberKey("a", n1.name), "{") },
		"another member goes":        func(s *site, _, n2 *node) { s.remove(state.MemberKey("a", n2.name)) },
		"member tells something":     func(s *site, n1, _ *node) { s.announce("a", n1) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			port, n1, n2 := s.cluster("a")
			s.start(router.Config{})
			conn := open(t, port)
			change(s, n1, n2)
			// A later change that can be seen: what came before it has been followed.
			later, _, _ := s.cluster("later")
			dial(t, later)
			ask(t, conn, "who")
			if got := ask(t, open(t, port), "who"); got != "a-n1" {
				t.Errorf("new session leads to %s, want a-n1", got)
			}
		})
	}
}

func TestEtcdOutageKeepsRouting(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	link := fixtures.NewLink(t, server.Endpoints()[0])
	through, err := state.Dial([]string{link.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { through.Close() })
	s := &site{t: t, client: server.Client()}
	port, _, n2 := s.cluster("a")
	r := startRouter(t, through, router.Config{SessionTTL: time.Second})
	before := open(t, port)
	link.Cut()
	eventually(t, "the outage is told", func() bool { return !r.Health().Etcd.Reachable })
	if h := r.Health(); !h.OK {
		t.Errorf("health during the outage is %+v, want ok", h)
	}
	if got := ask(t, before, "who") + ask(t, open(t, port), "who"); got != "a-n1a-n1" {
		t.Errorf("during the outage sessions lead to %s, want a-n1", got)
	}
	s.lead("a", n2)
	link.Heal()
	if err := ended(t, before.Conn()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("session to the leader from before the outage ended with %v, want a reset", err)
	}
	if got := ask(t, open(t, port), "who"); got != "a-n2" {
		t.Errorf("after the outage the port leads to %s, want a-n2", got)
	}
	eventually(t, "etcd is reachable again", func() bool { return r.Health().Etcd.Reachable })
	key := state.RouterKey("127.0.0.1", pid)
	eventually(t, "the router is registered again", func() bool { _, lease, ok := s.get(key); return ok && lease != 0 })
}

func TestHealth(t *testing.T) {
	t.Parallel()
	link := fixtures.NewLink(t, "127.0.0.1:1")
	link.Cut()
	client, err := state.Dial([]string{link.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	r, err := router.New(router.Config{IP: loopback, Log: fixtures.Log(t)}, client)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("health without a picture is %d, want 503", w.Code)
	}
	s := newSite(t)
	served := s.start(router.Config{})
	w = httptest.NewRecorder()
	served.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	var h router.Health
	if err := json.Unmarshal(w.Body.Bytes(), &h); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusOK || !h.OK {
		t.Errorf("health is %d %+v, want 200 and ok", w.Code, h)
	}
}

func TestBusyMetricsAddressEndsRun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r, err := router.New(router.Config{IP: loopback, Metrics: serve(t, nil), Log: fixtures.Log(t)}, s.client)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context()); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "router.metrics") {
		t.Errorf("Run = %v, want one that names router.metrics", err)
	}
}

func TestStopLeavesNothing(t *testing.T) {
	s := newSite(t)
	port, n1, _ := s.cluster("a")
	leaderless := s.allocate("none")
	busy := s.allocate("busy")
	occupy(t, busy)
	r := s.start(router.Config{})
	conn := open(t, port)
	held := dial(t, leaderless)
	eventually(t, "the other connection is held", func() bool { return r.metric(t, "pgpatron_router_held") == 1 })
	r.stop()
	for _, c := range []interface {
		Read([]byte) (int, error)
	}{conn.Conn(), held} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("connection ended with %v, want a reset", err)
		}
	}
	eventually(t, "the server's side is cut", func() bool { return n1.pg.Sessions() == 0 })
	if _, _, ok := s.get(state.RouterKey("127.0.0.1", pid)); ok {
		t.Error("the router is still registered")
	}
	defer func() {
		if t.Failed() {
			t.Log(routerGoroutines())
		}
	}()
	eventually(t, "no goroutine is left", func() bool {
		http.DefaultClient.CloseIdleConnections() // the test's own
		return routerGoroutines() == ""
	})
}

// routerGoroutines returns the stacks of the router's goroutines.
func routerGoroutines() string {
	var all, ours strings.Builder
	// A profile of goroutines is written to memory without an error.
	_ = pprof.Lookup("goroutine").WriteTo(&all, 2)
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(stack, "testing.(*T).Parallel") {
			continue // a test that has not begun
		}
		if strings.Contains(stack, "pgpatron/router.") || strings.Contains(stack, "http.(*persistConn)") {
			ours.WriteString(stack + "\n\n")
		}
	}
	return ours.String()
}
