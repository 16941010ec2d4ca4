package deploy

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/registrar/registry"
)

// at is an instance that speaks scheme at an address.
func at(scheme, addr, path string) registry.Instance {
	var in registry.Instance
	in.SetAddr(scheme, netip.MustParseAddrPort(addr), path)
	return in
}

// serve listens and lets answer have each connection.
func serve(t *testing.T, answer func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// postgres answers a startup message.
func postgres(message pgproto3.BackendMessage) func(net.Conn) {
	return func(conn net.Conn) {
		backend := pgproto3.NewBackend(conn, conn)
		if _, err := backend.ReceiveStartupMessage(); err == nil {
			backend.Send(message)
			_ = backend.Flush()
		}
	}
}

func TestProbeAsksInTheWayOfTheScheme(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		case "/moved":
			http.Redirect(w, r, "http://nowhere.invalid/", http.StatusFound)
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(web.Close)
	site := web.Listener.Addr().String()
	hangUp := serve(t, func(net.Conn) {})
	asks := serve(t, postgres(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}))
	refuses := serve(t, postgres(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28000", Message: "no pg_hba.conf entry"}))
	starts := serve(t, postgres(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P03", Message: "the database system is starting up"}))
	closed := serve(t, func(net.Conn) {})
	for _, tc := range []struct {
		in      registry.Instance
		status  registry.InstanceStatus
		details string
	}{
		{at("http", site, ""), registry.InstanceHealthy, ""},
		{at("http", site, "/missing"), registry.InstanceHealthy, ""},
		{at("http", site, "/moved"), registry.InstanceHealthy, ""},
		{at("http", site, "/broken"), registry.InstanceDegraded, "answers 500"},
		{at("http", hangUp, ""), registry.InstanceDegraded, "accepts connections but does not answer"},
		{at("tcp", closed, ""), registry.InstanceHealthy, ""},
		{at("tcp", "127.0.0.1:1", ""), registry.InstanceUnreachable, "refused"},
		{at("http", "127.0.0.1:1", ""), registry.InstanceUnreachable, "refused"},
		{at("postgresql", asks, ""), registry.InstanceHealthy, ""},
		{at("postgresql", refuses, ""), registry.InstanceHealthy, ""},
		{at("postgresql", starts, ""), registry.InstanceDegraded, "is starting up"},
		{at("postgresql", hangUp, ""), registry.InstanceDegraded, "accepts connections but does not answer"},
		{registry.Instance{Scheme: "http"}, registry.InstanceHealthy, ""}, // it listens nowhere
	} {
		got := newProber().probe(t.Context(), tc.in)
		if got.status != tc.status || !strings.Contains(got.details, tc.details) {
			t.Errorf("%s: %s %q, want %s %q", tc.in.URL, got.status, got.details, tc.status, tc.details)
		}
	}
}

// A real PostgreSQL is healthy, also for a stranger.
func TestProbeOfPostgreSQL(t *testing.T) {
	u, err := url.Parse(fixtures.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	in := registry.Instance{Scheme: "postgresql", Host: u.Hostname(), Port: port}
	if got := newProber().probe(t.Context(), in); got.status != registry.InstanceHealthy {
		t.Errorf("probe: %+v, want Healthy", got)
	}
}
