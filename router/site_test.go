package router_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// site is an etcd with what a router needs to find there.
type site struct {
	t      testing.TB
	client *clientv3.Client
}

func newSite(t testing.TB) *site { return &site{t: t, client: fixtures.Etcd(t)} }

func (s *site) put(key, value string) {
	s.t.Helper()
	if _, err := s.client.Put(s.t.Context(), key, value); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) remove(key string) {
	s.t.Helper()
	if _, err := s.client.Delete(s.t.Context(), key); err != nil {
		s.t.Fatal(err)
	}
}

// get returns a key's value and lease.
func (s *site) get(key string) (value string, lease int64, ok bool) {
	s.t.Helper()
	resp, err := s.client.Get(s.t.Context(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return "", 0, false
	}
	return string(resp.Kvs[0].Value), resp.Kvs[0].Lease, true
}

// allocate gives an instance a free public port.
func (s *site) allocate(id string) int {
	s.t.Helper()
	port := freePort(s.t)
	s.put(state.AllocationKey(id), strconv.Itoa(port))
	return port
}

func (s *site) lead(id string, n *node) { s.put(state.LeaderKey(id), n.name) }

func (s *site) announce(id string, n *node) { s.announceAs(id, n, nil) }

// announceAs announces a node that says more of itself.
func (s *site) announceAs(id string, n *node, more map[string]any) {
	s.t.Helper()
	said := map[string]any{
		"conn_url": "postgres://" + n.addr + "/postgres", "api_url": n.rest.URL + "/patroni",
		"role": "replica", "state": "running",
	}
	maps.Copy(said, more)
	member, err := json.Marshal(said)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put(state.MemberKey(id, n.name), string(member))
}

// nextPort keeps tests that run side by side apart.
var nextPort = func() *atomic.Uint32 {
	n := new(atomic.Uint32)
	n.Store(rand.Uint32N(10000))
	return n
}()

// freePort returns a port outside of the range that the kernel hands out.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 10000 + int(nextPort.Add(1)%10000)
		if l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port found")
	return 0
}

// node is a member of a cluster: a server and its Patroni.
type node struct {
	name string
	addr string
	pg   *fixtures.Postgres
	rest *httptest.Server
	// mode is how Patroni answers.
	mode  atomic.Int32
	asked atomic.Int32
	// wal is where it is in the WAL, or has replayed it to. A stalled replica does
	// not stream.
	wal     atomic.Int64
	stalled atomic.Bool
}

const (
	primary int32 = iota
	replica
	silent
)

// newNode starts a node that says it is a primary.
func newNode(t testing.TB, name string) *node {
	t.Helper()
	pg := fixtures.NewPostgres(t, name)
	n := newNodeAt(t, name, pg.Addr())
	n.pg = pg
	return n
}

// newNodeAt starts the Patroni of a server that runs at addr.
func newNodeAt(t testing.TB, name, addr string) *node {
	n := &node{name: name, addr: addr}
	n.rest = httptest.NewServer(http.HandlerFunc(n.serveREST))
	t.Cleanup(n.rest.Close)
	return n
}

func (n *node) serveREST(w http.ResponseWriter, r *http.Request) {
	n.asked.Add(1)
	role := "primary"
	switch n.mode.Load() {
	case silent:
		select {
		case <-r.Context().Done():
		case <-time.After(5 * time.Second):
		}
		return
	case replica:
		role = "replica"
		if r.URL.Path == "/primary" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	replication := "streaming"
	if role == "primary" || n.stalled.Load() {
		replication = ""
	}
	fmt.Fprintf(w, `{"role": %q, "state": "running", "replication_state": %q, "xlog": {"location": %d, "replayed_location": %d}}`,
		role, replication, n.wal.Load(), n.wal.Load())
}

// running is a router under test.
type running struct {
	*router.Router
	stop func()
}

// start runs a router until the test ends or stop is called.
func (s *site) start(cfg router.Config) *running { return startRouter(s.t, s.client, cfg) }

// startRouter runs a router and waits until it serves and is registered.
func startRouter(t testing.TB, client *clientv3.Client, cfg router.Config) *running {
	t.Helper()
	r := launch(t, client, &cfg)
	eventually(t, "the router serves", func() bool { return r.Health().OK })
	eventually(t, "the router is registered", func() bool {
		if r.Health().Stale {
			return true // there is no etcd to be registered in
		}
		resp, err := client.Get(t.Context(), state.RouterKey(cfg.IP.String(), cmp.Or(cfg.PID, pid)))
		return err == nil && len(resp.Kvs) == 1
	})
	return r
}

// launch runs a router, with what it leaves out of its configuration filled in.
func launch(t testing.TB, client *clientv3.Client, cfg *router.Config) *running {
	t.Helper()
	if !cfg.IP.IsValid() {
		cfg.IP = netip.MustParseAddr("127.0.0.1")
	}
	if cfg.Metrics == "" {
		cfg.Metrics = "127.0.0.1:0"
	}
	if cfg.Log == nil {
		cfg.Log = fixtures.Log(t)
	}
	r, err := router.New(*cfg, client)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(cfg.Drain + fixtures.Patience):
			t.Fatal("Run goes on after its context ended")
		}
	}
	t.Cleanup(stop)
	return &running{Router: r, stop: stop}
}

// metric returns the value of a metric as /metrics shows it, with its labels.
func (r *running) metric(t testing.TB, name string) float64 {
	t.Helper()
	recorder := httptest.NewRecorder()
	r.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(recorder.Body.String()) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	return 0
}

// eventually polls until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(fixtures.Patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// login connects as an application does. An error of the server is a
// *pgconn.PgError.
func login(ctx context.Context, port int, parameters string) (*pgconn.PgConn, error) {
	return pgconn.Connect(ctx, fmt.Sprintf("postgres://alice@127.0.0.1:%d/app?%s", port, parameters))
}

// open connects or fails the test.
func open(t testing.TB, port int) *pgconn.PgConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fixtures.Patience)
	defer cancel()
	conn, err := login(ctx, port, "sslmode=disable")
	if err != nil {
		t.Fatalf("connecting to port %d: %v", port, err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	leaveReading(ctx, t, conn)
	return conn
}

// leaveReading has pgconn read from the connection no more: after a slow write it
// does so beside us, and would be told of a reset in our place.
func leaveReading(ctx context.Context, t testing.TB, conn *pgconn.PgConn) {
	t.Helper()
	if err := conn.SyncConn(ctx); err != nil {
		t.Fatal(err)
	}
}

// ask runs a statement that returns one value.
func ask(t testing.TB, conn *pgconn.PgConn, statement string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fixtures.Patience)
	defer cancel()
	results, err := conn.Exec(ctx, statement).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	leaveReading(ctx, t, conn)
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return ""
	}
	return string(results[0].Rows[0][0])
}

// dial opens a bare connection to a public port.
func dial(t testing.TB, port int) *net.TCPConn {
	t.Helper()
	var conn net.Conn
	eventually(t, fmt.Sprintf("port %d is open", port), func() (ok bool) {
		var err error
		conn, err = net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		return err == nil
	})
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(fixtures.Patience)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// serve runs a bare TCP server that gives each connection to handle.
func serve(t testing.TB, handle func(*net.TCPConn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveAt(t, l, handle)
	return l.Addr().String()
}

// serveAt is serve for a listener that is there.
func serveAt(t testing.TB, l net.Listener, handle func(*net.TCPConn)) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn.(*net.TCPConn))
			}()
		}
	}()
}

// ended waits until a connection ends and returns how.
func ended(t testing.TB, conn net.Conn) error {
	t.Helper()
	_, err := io.Copy(io.Discard, conn)
	if err == nil {
		return io.EOF
	}
	return err
}
