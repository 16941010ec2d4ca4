package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// held opens a connection that has to wait, as the nth one that does, and returns
// where its session comes out.
func held(t *testing.T, r *running, port, nth int) <-chan *pgconn.PgConn {
	t.Helper()
	out := opening(t, port)
	eventually(t, "the connection waits", func() bool { return r.metric(t, "pgpatron_router_held") == float64(nth) })
	return out
}

// opening opens a connection that may have to wait.
func opening(t *testing.T, port int) <-chan *pgconn.PgConn {
	t.Helper()
	out := make(chan *pgconn.PgConn, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), fixtures.Patience)
		defer cancel()
		conn, err := login(ctx, port, "sslmode=disable")
		if err != nil {
			t.Errorf("connection that waits: %v", err)
		}
		out <- conn
	}()
	return out
}

func closing(t *testing.T, conn *pgconn.PgConn) {
	t.Cleanup(func() { conn.Close(context.Background()) })
}

func TestHoldsUntilLeaderAppears(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port := s.allocate("a")
	n1 := newNode(t, "n1")
	r := s.start(router.Config{})
	conn := held(t, r, port, 1)
	s.lead("a", n1)
	s.announce("a", n1)
	got := <-conn
	closing(t, got)
	if who := ask(t, got, "who"); who != "n1" {
		t.Errorf("held connection leads to %s, want n1", who)
	}
}

func TestWaitsUntilLeaderIsPrimary(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, n1, n2 := s.cluster("a")
	n2.mode.Store(replica)
	n2.pg.SetReadOnly(true)
	r := s.start(router.Config{})
	ask(t, open(t, port), "write")
	s.lead("a", n2)
	eventually(t, "the old leader is cut off", func() bool { return n1.pg.Sessions() == 0 })
	conns := []<-chan *pgconn.PgConn{held(t, r, port, 1), held(t, r, port, 2), held(t, r, port, 3)}
	eventually(t, "patroni is asked again and again", func() bool { return n2.asked.Load() > 5 })
	n2.pg.SetReadOnly(false)
	n2.mode.Store(primary)
	for _, c := range conns {
		conn := <-c
		closing(t, conn)
		ask(t, conn, "write")
	}
	if got := r.metric(t, "pgpatron_router_probe_seconds_count"); got != 2 {
		t.Errorf("%v times a leader was found ready, want 2: once each", got)
	}
}

// While a leader is not ready, another may come: whoever waits follows at once.
func TestHeldFollowsTheNextLeader(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, n1, n2 := s.cluster("a")
	n1.mode.Store(silent)
	r := s.start(router.Config{})
	conn := held(t, r, port, 1)
	eventually(t, "the first leader is asked", func() bool { return n1.asked.Load() > 0 })
	s.lead("a", n2)
	got := <-conn
	closing(t, got)
	if who := ask(t, got, "who"); who != "a-n2" {
		t.Errorf("held connection leads to %s, want a-n2", who)
	}
	if got := r.metric(t, "pgpatron_router_probe_fallbacks_total"); got != 0 {
		t.Error("the connection waited until the first leader would have been believed")
	}
}

func TestGoesByLeaderKeyWhenPatroniIsSilent(t *testing.T) {
	t.Parallel()
	for name, silence := range map[string]func(*node){
		"refused": func(n *node) { n.rest.Close() },
		"frozen":  func(n *node) { n.mode.Store(silent) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			port, n1, _ := s.cluster("a")
			silence(n1)
			r := s.start(router.Config{})
			began := time.Now()
			if who := ask(t, open(t, port), "who"); who != "a-n1" {
				t.Errorf("port leads to %s, want a-n1", who)
			}
			if took := time.Since(began); took < 2*time.Second {
				t.Errorf("the leader key was believed after %v, want no sooner than after 2 s", took)
			}
			if got := r.metric(t, "pgpatron_router_probe_fallbacks_total"); got != 1 {
				t.Errorf("%v fallbacks are told, want 1", got)
			}
		})
	}
}

// The leader's container is restarted: nobody listens for a while, and the leader
// key stays.
func TestHoldsWhileLeaderRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, n1, _ := s.cluster("a")
	r := s.start(router.Config{})
	ask(t, open(t, port), "who")
	n1.pg.Stop()
	conn := held(t, r, port, 1)
	eventually(t, "dialling has failed some times", func() bool { return r.metric(t, "pgpatron_router_dial_failures_total") > 2 })
	n1.pg.Start(t)
	got := <-conn
	closing(t, got)
	ask(t, got, "who")
}

// PostgreSQL dies and is started again as a standby, leader key in hand. Nobody
// dialled while it was down; the end of a session has to be enough of a sign.
func TestLooksAgainAfterServerEndsASession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, n1, _ := s.cluster("a")
	s.start(router.Config{})
	conn := open(t, port)
	n1.mode.Store(replica)
	n1.pg.SetReadOnly(true)
	n1.pg.EndSessions()
	ended(t, conn.Conn())
	time.AfterFunc(200*time.Millisecond, func() {
		n1.pg.SetReadOnly(false)
		n1.mode.Store(primary)
	})
	ask(t, open(t, port), "write")
}

// The same without any session: the member's own word is a sign, too.
func TestLooksAgainWhenTheLeaderSaysItIsNoPrimary(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, n1, _ := s.cluster("a")
	say := func(role string) {
		s.put(state.MemberKey("a", n1.name), fmt.Sprintf(`{"conn_url":"postgres://%s/postgres","api_url":"%s/patroni","role":%q,"state":"running"}`, n1.addr, n1.rest.URL, role))
	}
	say("primary")
	r := s.start(router.Config{})
	idle := open(t, port)
	n1.mode.Store(replica)
	n1.pg.SetReadOnly(true)
	say("replica")
	later, _, _ := s.cluster("later")
	dial(t, later)
	conn := held(t, r, port, 1)
	n1.pg.SetReadOnly(false)
	n1.mode.Store(primary)
	got := <-conn
	closing(t, got)
	ask(t, got, "write")
	ask(t, idle, "write")
}

func TestRefusesAfterHold(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port := s.allocate("a-1")
	r := s.start(router.Config{Hold: 300 * time.Millisecond})
	for _, parameters := range []string{"sslmode=disable", "sslmode=prefer"} {
		t.Run(parameters, func(t *testing.T) {
			began := time.Now()
			_, err := login(t.Context(), port, parameters)
			refused, ok := errors.AsType[*pgconn.PgError](err)
			if !ok {
				t.Fatalf("connecting without a leader: %v, want an error of the server", err)
			}
			want := `database "app" of instance a-1 has no leader at the moment; try again`
			if refused.Code != "57P03" || refused.Severity != "FATAL" || refused.Message != want {
				t.Errorf("refused with %s %s %q, want FATAL 57P03 %q", refused.Severity, refused.Code, refused.Message, want)
			}
			if took := time.Since(began); took < 300*time.Millisecond {
				t.Errorf("refused after %v, want no sooner than after the hold of 300 ms", took)
			}
		})
	}
	if got := r.metric(t, `pgpatron_router_refusals_total{reason="no_leader"}`); got < 2 {
		t.Errorf("%v refusals are told, want 2", got)
	}
}

func TestRefusalDeclinesGSSENCAndSSL(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port := s.allocate("a")
	s.start(router.Config{Hold: 50 * time.Millisecond})
	conn := dial(t, port)
	frontend := pgproto3.NewFrontend(conn, conn)
	for _, request := range []pgproto3.FrontendMessage{&pgproto3.GSSEncRequest{}, &pgproto3.SSLRequest{}} {
		frontend.Send(request)
		if err := frontend.Flush(); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 1)
		if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 'N' {
			t.Fatalf("%T is answered %q, %v, want N", request, answer, err)
		}
	}
	frontend.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "bob"}})
	if err := frontend.Flush(); err != nil {
		t.Fatal(err)
	}
	message, err := frontend.Receive()
	refused, ok := message.(*pgproto3.ErrorResponse)
	if !ok || !strings.HasPrefix(refused.Message, `database "bob" of instance a `) {
		t.Errorf("answer is %+v, %v, want a refusal that names the user's database", message, err)
	}
	if err := ended(t, conn); err != io.EOF {
		t.Errorf("refused connection ended with %v, want an end in order", err)
	}
}

func TestCancelRequestReachesLeader(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, n1, _ := s.cluster("a")
	s.start(router.Config{})
	conn := open(t, port)
	if err := conn.CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request arrives", func() bool { return n1.pg.Cancels() == 1 })
}

func TestHeldClientThatLeavesFreesItsPlace(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port := s.allocate("a")
	r := s.start(router.Config{})
	for name, leave := range map[string]func(*net.TCPConn){
		"closed": func(c *net.TCPConn) { c.Close() },
		"reset":  func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, port)
			conn.Write([]byte("something that is never read"))
			eventually(t, "it is held", func() bool { return r.metric(t, "pgpatron_router_held") == 1 })
			before := r.metric(t, "pgpatron_router_abandoned_total")
			leave(conn)
			eventually(t, "its place is free", func() bool { return r.metric(t, "pgpatron_router_held") == 0 })
			if got := r.metric(t, "pgpatron_router_abandoned_total"); got != before+1 {
				t.Errorf("%v clients that left are told, want %v", got, before+1)
			}
		})
	}
}

// Leaders come and go while many clients connect and write: no write ever meets
// a standby, and no connection is refused.
func TestNoReadOnlyErrorThroughManyFailovers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, n1, n2 := s.cluster("a")
	n2.mode.Store(replica)
	n2.pg.SetReadOnly(true)
	s.start(router.Config{})
	stop := make(chan struct{})
	var clients sync.WaitGroup
	writes := make([]int, 8)
	for i := range writes {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					writes[i] += writeOften(t, port)
				}
			}
		})
	}
	for from, to := n1, n2; n1.asked.Load()+n2.asked.Load() < 60; from, to = to, from {
		time.Sleep(50 * time.Millisecond)
		from.pg.Stop()
		from.mode.Store(replica)
		from.pg.SetReadOnly(true)
		s.remove(state.LeaderKey("a"))
		from.pg.Start(t)
		s.lead("a", to)
		time.Sleep(50 * time.Millisecond)
		to.pg.SetReadOnly(false)
		to.mode.Store(primary)
	}
	close(stop)
	clients.Wait()
	for i, n := range writes {
		if n == 0 {
			t.Errorf("client %d wrote nothing", i)
		}
	}
}

// writeOften connects and writes until the session ends.
func writeOften(t *testing.T, port int) (written int) {
	conn, err := login(t.Context(), port, "sslmode=disable")
	if err != nil {
		if _, refused := errors.AsType[*pgconn.PgError](err); refused {
			t.Errorf("connecting: %v", err)
		}
		return 0
	}
	defer conn.Close(context.Background())
	for range 50 {
		_, err := conn.Exec(t.Context(), "write").ReadAll()
		refused, ok := errors.AsType[*pgconn.PgError](err)
		switch {
		case ok && written == 0:
			t.Errorf("first write of a session: %v", refused)
		case err != nil:
			return written
		}
		written++
	}
	return written
}
