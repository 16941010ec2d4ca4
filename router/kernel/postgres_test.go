package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/fixtures/netlab"
	"github.com/pgpatron/pgpatron/router"
)

// site is a whole router beside real PostgreSQL servers.
type site struct {
	*lab
	*netlab.Cluster
	pg     [2]*netlab.Postgres
	etcd   *clientv3.Client
	router *router.Router
	// stop ends the router.
	stop func()
}

// TestRouter runs all that needs a router and servers, which take seconds to start.
func TestRouter(t *testing.T) {
	s := newSite(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *site)
	}{
		{"CutsRealSessions", cutsRealSessions},
		{"RestartedLeaderIsLookedAtBeforeItIsLedTo", restartedLeaderIsLookedAtBeforeItIsLedTo},
		{"NoSessionMeetsAStandbyThroughSwitchovers", noSessionMeetsAStandbyThroughSwitchovers},
		{"PartingRaisesNoDoubt", partingRaisesNoDoubt},
		{"CopiesAreExact", copiesAreExact},
		{"RestartKeepsSessions", restartKeepsSessions},
		{"LimitsHoldForBothPlanes", limitsHoldForBothPlanes},
		{"BrokenCircuitLeadsNobody", brokenCircuitLeadsNobody},
		{"RouterStartsBroken", routerStartsBroken},
		{"RouterStartsHeld", routerStartsHeld},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s.in(t)) })
	}
}

// in returns the site for a subtest.
func (s *site) in(t *testing.T) *site {
	sub := *s
	sub.lab = s.lab.in(t)
	return &sub
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{lab: newLab(t)}
	s.user.end() // the router listens itself
	s.etcd = fixtures.Etcd(t)
	s.Cluster = netlab.NewCluster(t, s.etcd, "a", s.port)
	for i, host := range s.hosts {
		s.pg[i] = netlab.NewPostgres(t, host, s.l(i))
	}
	s.startRouter(router.Config{})
	return s
}

// startRouter starts a router that ends with the test or when stop is called.
func (s *site) startRouter(cfg router.Config) {
	s.t.Helper()
	cfg.IP, cfg.Metrics = netip.MustParseAddr("10.91.1.1"), "127.0.0.1:0"
	cfg.DataPlane, cfg.Log = router.KernelPlane, fixtures.Log(s.t)
	r, err := router.New(cfg, s.etcd)
	if err != nil {
		s.t.Fatal(err)
	}
	s.router = r
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
	s.t.Cleanup(s.stop)
}

func (s *site) l(i int) string { return []string{"10.91.11.2", "10.91.12.2"}[i] }

// lead makes a server the leader, which takes writes, and waits until the kernel
// leads there.
func (s *site) lead(i int) {
	s.t.Helper()
	s.pg[i].SetReadOnly(false)
	s.pg[i].SetReplica(false)
	s.Lead(s.pg[i])
	eventually(s.t, "the kernel leads", func() bool { return s.leads(s.portNumber()) })
}

// connect opens a session of PostgreSQL.
func (s *site) connect(kind string) (*pgconn.PgConn, error) {
	c := s.clients[kind]
	cfg, err := pgconn.ParseConfig("postgres://postgres@" + net.JoinHostPort(c.router["ipv4"], strconv.Itoa(s.port)) + "/postgres?sslmode=disable")
	if err != nil {
		return nil, err
	}
	cfg.DialFunc = func(ctx context.Context, _, addr string) (net.Conn, error) {
		return c.host.Dial(ctx, &net.Dialer{}, addr)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*fixtures.Patience)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	// After a slow write pgconn reads in the background, and would be told of a
	// reset in our place.
	return conn, conn.SyncConn(ctx)
}

// What a session may be in the middle of. Each returns when the session ends.
var middles = map[string]func(ctx context.Context, conn *pgconn.PgConn) error{
	"idle": func(_ context.Context, conn *pgconn.PgConn) error {
		_, err := conn.Conn().Read(make([]byte, 1))
		return err
	},
	"in a transaction": func(ctx context.Context, conn *pgconn.PgConn) error {
		if _, err := conn.Exec(ctx, "BEGIN; SELECT 1").ReadAll(); err != nil {
			return err
		}
		_, err := conn.Conn().Read(make([]byte, 1))
		return err
	},
	"mid-statement": func(ctx context.Context, conn *pgconn.PgConn) error {
		return conn.Exec(ctx, "SELECT pg_sleep(600)").Close()
	},
	"copying out": func(ctx context.Context, conn *pgconn.PgConn) error {
		_, err := conn.CopyTo(ctx, io.Discard, "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000000)) TO STDOUT")
		return err
	},
	"copying in": func(ctx context.Context, conn *pgconn.PgConn) error {
		if _, err := conn.Exec(ctx, "CREATE TEMPORARY TABLE sink (line text)").ReadAll(); err != nil {
			return err
		}
		_, err := conn.CopyFrom(ctx, endless{}, "COPY sink FROM STDIN")
		return err
	},
}

// endless are lines without an end, at a pace that fills no disk.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return copy(b, "all work and no play\n"), nil
}

// Sessions of real clients with a real PostgreSQL end when their leader leads no
// more, whatever they are in the middle of, and new ones reach the next leader.
func cutsRealSessions(t *testing.T, s *site) {
	for round := range *rounds {
		old := round % 2
		s.lead(old)
		s.expectServer(old)
		ended := map[string]chan error{}
		for kind := range s.clients {
			for name, middle := range middles {
				conn, err := s.connect(kind)
				if err != nil {
					t.Fatalf("%s: %v", kind, err)
				}
				end := make(chan error, 1)
				ended[kind+", "+name] = end
				go func() { end <- middle(context.Background(), conn) }()
			}
		}
		time.Sleep(50 * time.Millisecond) // for all to be in the middle
		s.Depose()
		for what, end := range ended {
			select {
			case err := <-end:
				if err == nil {
					t.Errorf("round %d: %s: ended well", round, what)
				}
			case <-time.After(fixtures.Patience):
				t.Errorf("round %d: %s: %v", round, what, errHangs)
			}
		}
	}
}

// expectServer checks which server sessions reach.
func (s *site) expectServer(i int) {
	s.t.Helper()
	conn, err := s.connect("direct")
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	results, err := conn.Exec(context.Background(), "SELECT host(inet_server_addr())").ReadAll()
	if err != nil {
		s.t.Fatal(err)
	}
	if got, want := string(results[0].Rows[0][0]), s.l(i); got != want {
		s.t.Errorf("sessions reach %s, want %s", got, want)
	}
}

// The leader's PostgreSQL crashes and comes back as a standby, leader key in hand
// all the while: no session meets it before it takes writes again.
func restartedLeaderIsLookedAtBeforeItIsLedTo(t *testing.T, s *site) {
	s.lead(0)
	s.underLoad(func(int) {
		s.pg[0].SetReplica(true)
		s.pg[0].Stop()
		s.pg[0].SetReadOnly(true)
		s.pg[0].Start()
		time.Sleep(100 * time.Millisecond) // in which clients come
		s.pg[0].SetReadOnly(false)
		s.pg[0].SetReplica(false)
	})
}

// The leader changes, and the next one names itself before it takes writes.
func noSessionMeetsAStandbyThroughSwitchovers(t *testing.T, s *site) {
	s.lead(0)
	s.underLoad(func(round int) {
		old, next := s.pg[round%2], s.pg[(round+1)%2]
		next.SetReadOnly(true)
		next.SetReplica(true)
		s.Depose()
		eventually(t, "the kernel leads no more", func() bool { return !s.leads(s.portNumber()) })
		old.SetReadOnly(true)
		s.Lead(next)
		time.Sleep(50 * time.Millisecond) // in which clients come
		next.SetReadOnly(false)
		next.SetReplica(false)
		eventually(t, "the kernel leads", func() bool { return s.leads(s.portNumber()) })
	})
}

// Clients that part from a server in PostgreSQL's words, and those that want
// something cancelled, raise no doubt: the kernel goes on leading.
func partingRaisesNoDoubt(t *testing.T, s *site) {
	s.lead(0)
	before := s.led(t)
	const sessions = 30
	for range sessions {
		conn, err := s.connect("direct")
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.CancelRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Conn().Write([]byte("X\x00\x00\x00\x04")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn.Conn()); err != nil {
			t.Fatal(err)
		}
		conn.Conn().Close()
	}
	// A doubt from before may cost one or two; one at each parting would cost most.
	if got, least := s.led(t)-before, 2*sessions*9/10; got < least {
		t.Errorf("the kernel led %d connections of %d, want at least %d", got, 2*sessions, least)
	}
}

// led is how many connections the router's kernel has led, as its metrics say.
func (s *site) led(t *testing.T) (n int) {
	t.Helper()
	recorder := httptest.NewRecorder()
	s.router.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	const name = `pgpatron_router_kernel_sessions_total{instance="a"} `
	_, rest, ok := strings.Cut(recorder.Body.String(), "\n"+name)
	if !ok {
		t.Fatalf("no %s among the metrics", name)
	}
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A router that leaves its rules is started again, and no session notices.
func restartKeepsSessions(t *testing.T, s *site) {
	// Before the router starts: one that takes in a new term looks at the leader
	// again, and if it is stopped meanwhile, nothing is led.
	s.Lead(s.pg[0])
	s.stop()
	s.startRouter(router.Config{LeaveRules: true})
	eventually(t, "the kernel leads", func() bool { return s.leads(s.portNumber()) })
	kept, err := s.connect("natted")
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close(context.Background())
	for range 10 {
		s.stop()
		s.expectServer(0)
		s.startRouter(router.Config{LeaveRules: true})
		s.expectServer(0)
		if _, err := kept.Exec(t.Context(), "SELECT 1").ReadAll(); err != nil {
			t.Fatalf("after a restart: %v", err)
		}
	}
	s.stop()
	s.startRouter(router.Config{})
	s.expectServer(0)
	s.Depose()
	s.expectReset(kept.Conn())
}

// underLoad does something in each round while clients of every kind connect and
// write.
func (s *site) underLoad(do func(round int)) {
	s.t.Helper()
	var writers sync.WaitGroup
	var written atomic.Int64
	stop := make(chan struct{})
	defer writers.Wait()
	defer close(stop)
	for kind := range s.clients {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					written.Add(s.write(kind))
				}
			}
		})
	}
	for round := range *rounds {
		before := written.Load()
		eventually(s.t, "clients write", func() bool { return written.Load() > before+20 })
		do(round)
	}
}

// write connects and writes for a while, and returns how often. The first write of
// a session must never meet a standby.
func (s *site) write(kind string) (written int64) {
	conn, err := s.connect(kind)
	if err != nil {
		refusal, ok := errors.AsType[*pgconn.PgError](err)
		// What a server says while it ends is true, and nobody could know before.
		if ok && refusal.Message != "the database system is shutting down" {
			s.t.Errorf("%s: connecting: %v", kind, refusal)
		}
		return 0
	}
	defer conn.Close(context.Background())
	for range 10 {
		_, err := conn.Exec(context.Background(), "CREATE TEMPORARY TABLE IF NOT EXISTS t (x int); SELECT txid_current()").ReadAll()
		if refusal, ok := errors.AsType[*pgconn.PgError](err); ok && refusal.Code == "25006" && written == 0 {
			s.t.Errorf("%s: first write of a session: %v", kind, refusal)
		}
		if err != nil {
			return written
		}
		written++
	}
	return written
}
