package router_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// broken is what clients of a router are told whose circuit is broken.
const broken = "circuit break mode is ON for router instance "

var ownKey = state.RouterKey("127.0.0.1", pid)

// breaks breaks the circuit of a router and waits until it says so.
func (s *site) breaks(r *running, key string) {
	s.t.Helper()
	s.put(key, "DISABLED")
	eventually(s.t, "the circuit is broken", func() bool { return r.metric(s.t, "pgpatron_router_circuit_broken") == 1 })
}

func (s *site) mends(r *running, key string) {
	s.t.Helper()
	s.put(key, "")
	eventually(s.t, "the circuit is closed", func() bool { return r.metric(s.t, "pgpatron_router_circuit_broken") == 0 })
}

// isRefused checks that a new connection is told of the broken circuit, with and
// without a request for TLS before.
func isRefused(t *testing.T, port int, name string) {
	t.Helper()
	for _, parameters := range []string{"sslmode=disable", "sslmode=prefer"} {
		refused := refusedWith(t, port, parameters)
		if refused.Severity != "FATAL" || refused.Code != "57P03" || refused.Message != broken+name {
			t.Errorf("with %s refused with %s %s %q, want FATAL 57P03 %q", parameters, refused.Severity, refused.Code, refused.Message, broken+name)
		}
	}
}

// However the word is written, it breaks the circuit; anything else closes it.
func TestSwitchOfARouter(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, reads, _ := s.threesome("a")
	leaderless := s.allocate("b")
	r := s.start(router.Config{BreakGrace: time.Minute})
	writer, reader := open(t, port), open(t, reads)
	dial(t, leaderless)
	for _, word := range []string{"DISABLED", "disabled", " \tDisabled\n"} {
		s.put(ownKey, word)
		eventually(t, "the circuit is broken", func() bool { return r.metric(t, "pgpatron_router_circuit_broken") == 1 })
		for _, p := range []int{port, reads, leaderless} {
			isRefused(t, p, self)
		}
		ask(t, writer, "who")
		ask(t, reader, "who")
		for _, other := range []string{"", "ENABLED", "DISABLED!"} {
			s.put(ownKey, other)
			eventually(t, "the circuit is closed", func() bool { return r.metric(t, "pgpatron_router_circuit_broken") == 0 })
			ask(t, open(t, port), "who")
			ask(t, open(t, reads), "who")
			s.breaks(r, ownKey)
		}
		s.mends(r, ownKey)
	}
	if got := r.metric(t, `pgpatron_router_refusals_total{reason="circuit_break"}`); got < 18 {
		t.Errorf("%v refusals are told, want one for each", got)
	}
	if got := ask(t, writer, "who") + ask(t, reader, "who"); got != "a-n0a-n1" && got != "a-n0a-n2" {
		t.Errorf("sessions that lived through it are with %s, want their own servers", got)
	}
}

// Health says 503 and why, and 200 again.
func TestHealthOfABrokenCircuit(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start(router.Config{})
	health := func() (int, router.Health) {
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		var h router.Health
		if err := json.Unmarshal(w.Body.Bytes(), &h); err != nil {
			t.Fatal(err)
		}
		return w.Code, h
	}
	s.breaks(r, ownKey)
	if code, h := health(); code != http.StatusServiceUnavailable || h.OK || h.Reason != broken+self {
		t.Errorf("health is %d %+v, want 503 and the reason", code, h)
	}
	s.mends(r, ownKey)
	if code, h := health(); code != http.StatusOK || !h.OK || h.Reason != "" {
		t.Errorf("health is %d %+v, want 200 and ok", code, h)
	}
}

// Who waits for a leader when the circuit breaks is told so, more of them than are
// refused at once otherwise; and so is who waits for one to answer.
func TestWaitingClientsAreTurnedAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port := s.allocate("a")
	r := s.start(router.Config{Hold: time.Minute})
	dial(t, port)
	const clients = 300
	refusals := make(chan error, clients)
	for range clients {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), fixtures.Patience)
			defer cancel()
			_, err := login(ctx, port, "sslmode=disable")
			refusals <- err
		}()
	}
	eventually(t, "they wait", func() bool { return r.metric(t, "pgpatron_router_held") >= clients })
	s.breaks(r, ownKey)
	for range clients {
		err := <-refusals
		if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Message != broken+self {
			t.Fatalf("a client that waited got %v, want the broken circuit", err)
		}
	}
}

// A client whose leader has been called and does not answer is not kept waiting.
func TestJoiningClientsAreTurnedAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := newNodeAt(t, "n", "192.0.2.1:5432") // of an address that nobody has
	s.announce("a", n)
	s.lead("a", n)
	port := s.allocate("a")
	r := s.start(router.Config{DialTimeout: time.Minute})
	dial(t, port)
	refused := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), fixtures.Patience)
		defer cancel()
		_, err := login(ctx, port, "sslmode=disable")
		refused <- err
	}()
	eventually(t, "the leader is called", func() bool { return n.asked.Load() > 0 && r.metric(t, "pgpatron_router_probe_seconds_count") > 0 })
	s.breaks(r, ownKey)
	if got, ok := errors.AsType[*pgconn.PgError](<-refused); !ok || got.Message != broken+self {
		t.Errorf("the client got %v, want the broken circuit", got)
	}
}

func TestSessionsEndAfterTheGrace(t *testing.T) {
	t.Parallel()
	for name, grace := range map[string]time.Duration{"now": 0, "a second": time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			port, reads, _ := s.threesome("a")
			r := s.start(router.Config{BreakGrace: grace})
			conns := []*pgconn.PgConn{open(t, port), open(t, reads), open(t, reads)}
			began := time.Now()
			s.breaks(r, ownKey)
			for _, conn := range conns {
				ended(t, conn.Conn())
			}
			if took := time.Since(began); took < grace {
				t.Errorf("sessions ended after %v, want %v at least", took, grace)
			}
			isRefused(t, port, self)
			s.mends(r, ownKey)
			ask(t, open(t, port), "who")
			ask(t, open(t, reads), "who")
		})
	}
}

// While sessions may go on, so may what they ask to be cancelled, and a leader that
// is deposed still loses them at once.
func TestGraceIsLikeAlways(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, n1, n2 := s.cluster("a")
	r := s.start(router.Config{BreakGrace: time.Minute})
	conn := open(t, port)
	s.breaks(r, ownKey)
	if err := conn.CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request to cancel arrives", func() bool { return n1.pg.Cancels() == 1 })
	s.lead("a", n2)
	ended(t, conn.Conn())
	isRefused(t, port, self)
	s.mends(r, ownKey)
	if got := ask(t, open(t, port), "who"); got != "a-n2" {
		t.Errorf("after the break the port leads to %s, want a-n2", got)
	}
}

// A reader's request to cancel finds its replica though no other session does.
func TestReadersMayCancelWhileBroken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, reads, nodes := s.threesome("a")
	r := s.start(router.Config{BreakGrace: time.Minute})
	conns := []*pgconn.PgConn{open(t, reads), open(t, reads)}
	s.breaks(r, ownKey)
	for i, conn := range conns {
		if err := conn.CancelRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "both replicas hear of it", func() bool {
			return nodes[1].pg.Cancels() == i+1 && nodes[2].pg.Cancels() == i+1
		})
	}
}

// The key may have been there before the router, from an operator or from an
// earlier process of its name.
func TestRouterStartsBroken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, n1, _ := s.cluster("a")
	s.put(ownKey, "disabled")
	r := launch(t, s.client, &router.Config{})
	eventually(t, "the port is open", func() bool { return isOpen(port) })
	isRefused(t, port, self)
	eventually(t, "the router takes the key", func() bool { _, lease, _ := s.get(ownKey); return lease != 0 })
	if value, _, _ := s.get(ownKey); value != "disabled" {
		t.Errorf("the router's key holds %q, want what the operator wrote", value)
	}
	if n1.pg.Sessions() != 0 {
		t.Error("a client was let in")
	}
	s.mends(r, ownKey)
	ask(t, open(t, port), "who")
}

// All routers may be broken: they stay, are seen, and come back.
func TestAllRoutersBroken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, _, _ := s.cluster("a")
	first, second := s.start(router.Config{PID: 1}), s.start(router.Config{PID: 2})
	keys := map[string]*running{state.RouterKey("127.0.0.1", 1): first, state.RouterKey("127.0.0.1", 2): second}
	for key, r := range keys {
		s.breaks(r, key)
	}
	isRefused(t, port, "127.0.0.1@-@2") // the newest gets the connections
	for key := range keys {
		eventually(t, "the key is leased", func() bool { value, lease, _ := s.get(key); return lease != 0 && value == "DISABLED" })
	}
	for key, r := range keys {
		s.mends(r, key)
	}
	ask(t, open(t, port), "who")
}

// What an operator writes while the router can not see it holds when it can, also
// if the key has gone meanwhile with its session.
func TestSwitchIsHeardAfterAnOutage(t *testing.T) {
	t.Parallel()
	for name, toggle := range map[string]func(s *site, key string){
		"plain put": func(s *site, key string) { s.put(key, "DISABLED") },
		"under its lease": func(s *site, key string) {
			if _, err := s.client.Put(s.t.Context(), key, "DISABLED", clientv3.WithIgnoreLease()); err != nil {
				s.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := fixtures.EtcdServer(t)
			link := fixtures.NewLink(t, server.Endpoints()[0])
			s := &site{t: t, client: server.Client()}
			port, _, _ := s.cluster("a")
			key := state.RouterKey("127.0.0.1", 1)
			r := startRouter(t, fixtures.EtcdClient(t, link.Addr()), router.Config{PID: 1, SessionTTL: 4 * time.Second})
			s.start(router.Config{PID: 2, Listen: loopback}) // which forgets the dead
			ask(t, open(t, port), "who")
			link.Cut()
			toggle(s, key)
			eventually(t, "the router is forgotten", func() bool { _, _, ok := s.get(key); return !ok })
			link.Heal()
			eventually(t, "the circuit is broken", func() bool { return r.metric(t, "pgpatron_router_circuit_broken") == 1 })
			eventually(t, "the key is there again", func() bool { value, lease, _ := s.get(key); return value == "DISABLED" && lease != 0 })
		})
	}
}

// A router that has no session itself forgets the dead all the same.
func TestDeadAreForgottenWithoutASession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const dead = "10.0.0.9@-@7"
	keys := []string{state.RouterKey("10.0.0.9", 7), state.RouterRecordKey(dead)}
	for _, key := range append(keys, state.RouterSessionKey(dead)) {
		s.put(key, "DISABLED")
	}
	schema := state.NewSchema()
	reactor := router.NewRegistration(schema, router.Config{IP: loopback, PID: 1})
	fixtures.RunEngine(t, state.EngineConfig{Client: s.client, Schema: schema, Reactor: reactor, Name: "router"})
	s.remove(state.RouterSessionKey(dead))
	for _, key := range keys {
		eventually(t, key+" is gone", func() bool { _, _, ok := s.get(key); return !ok })
	}
}

// The switch is known from disk to a router of the same name that starts without
// etcd, as in a container, and to no other.
func TestStartWithoutEtcdStaysBroken(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	link := fixtures.NewLink(t, server.Endpoints()[0])
	through := fixtures.EtcdClient(t, link.Addr())
	s := &site{t: t, client: server.Client()}
	port, _, _ := s.cluster("a")
	cfg := router.Config{TableFile: filepath.Join(t.TempDir(), "table.json"), SessionTTL: time.Second}
	first := startRouter(t, through, cfg)
	s.breaks(first, ownKey)
	eventually(t, "the table is on disk", func() bool {
		b, err := os.ReadFile(cfg.TableFile)
		return err == nil && strings.Contains(string(b), `"broken":"`+self+`"`)
	})
	link.Cut()
	first.stop()
	second := launch(t, through, &cfg)
	eventually(t, "the port is open", func() bool { return isOpen(port) })
	isRefused(t, port, self)
	second.stop()
	other := cfg
	other.PID = 1
	third := startRouter(t, through, other)
	ask(t, open(t, port), "who")
	third.stop()
}

// Clients that are turned back have the places of those that are served: many may
// take their time to say what they want, and none is cut for it.
func TestManySlowClientsAreTurnedBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port := s.allocate("a")
	r := s.start(router.Config{})
	s.breaks(r, ownKey)
	conns := make([]*net.TCPConn, 300)
	for i := range conns {
		conns[i] = dial(t, port)
		conns[i].SetDeadline(time.Now().Add(fixtures.Patience))
	}
	for i, conn := range conns {
		if err := ended(t, conn); err != io.EOF {
			t.Fatalf("client %d, which has said nothing, ended with %v, want in order", i, err)
		}
	}
}
