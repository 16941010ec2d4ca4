package patroni_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgpatron/pgpatron/patroni"
)

// fakeServer is a PostgreSQL that lets everybody in, notes what it is told, and
// refuses what its refuse says.
type fakeServer struct {
	listener net.Listener
	// refuse returns the SQLSTATE with which a statement ends, or "".
	refuse func(statement string) string

	mu         sync.Mutex
	startups   []map[string]string
	statements []string
}

func newFakeServer(t *testing.T, refuse func(string) string) *fakeServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{listener: listener, refuse: refuse}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.serve(conn)
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return s
}

func (s *fakeServer) connString() string {
	host, port, _ := net.SplitHostPort(s.listener.Addr().String())
	return "host=" + host + " port=" + port + " dbname=postgres user=postgres sslmode=disable"
}

func (s *fakeServer) serve(conn net.Conn) {
	defer conn.Close()
	backend := pgproto3.NewBackend(conn, conn)
	startup, err := backend.ReceiveStartupMessage()
	if err != nil {
		return
	}
	s.mu.Lock()
	s.startups = append(s.startups, startup.(*pgproto3.StartupMessage).Parameters)
	s.mu.Unlock()
	backend.Send(&pgproto3.AuthenticationOk{})
	for {
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if backend.Flush() != nil {
			return
		}
		message, err := backend.Receive()
		if err != nil {
			return
		}
		query, ok := message.(*pgproto3.Query)
		if !ok {
			return
		}
		s.mu.Lock()
		s.statements = append(s.statements, query.String)
		s.mu.Unlock()
		if code := s.refuse(query.String); code != "" {
			backend.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: code, Message: "refused"})
		} else {
			backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("OK")})
		}
	}
}

func nothing(string) string { return "" }

func TestPostBootstrap(t *testing.T) {
	server := newFakeServer(t, nothing)
	node := testNode()
	if err := patroni.PostBootstrap(t.Context(), node, server.connString()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`CREATE ROLE "app_owner" WITH NOLOGIN`,
		`CREATE ROLE "admin" WITH LOGIN CREATEROLE PASSWORD 'SCRAM-SHA-256$`,
		`CREATE ROLE "replicator" WITH LOGIN REPLICATION PASSWORD 'SCRAM-SHA-256$`,
		`CREATE DATABASE "app" OWNER "admin"`,
		`REVOKE ALL ON DATABASE "app", postgres, template1 FROM PUBLIC`,
		`ALTER SCHEMA public OWNER TO "app_owner"`,
		`ALTER TABLE pgpatron.heartbeat OWNER TO "admin"`,
	} {
		if !slices.ContainsFunc(server.statements, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("no statement begins with %s", want)
		}
	}
	for _, statement := range server.statements {
		if strings.Contains(statement, "secret") || strings.Contains(statement, "1e100") || strings.Contains(statement, "{") {
			t.Errorf("statement with a password or a brace: %s", statement)
		}
	}
	var databases []string
	for _, startup := range server.startups {
		databases = append(databases, startup["database"])
		if startup["synchronous_commit"] != "local" || startup["log_statement"] != "none" || startup["user"] != "postgres" {
			t.Errorf("session begins with %v", startup)
		}
	}
	if want := []string{"postgres", "app"}; !slices.Equal(databases, want) {
		t.Errorf("connected to %v, want %v", databases, want)
	}
}

// A second run finds everything there.
func TestPostBootstrapAgain(t *testing.T) {
	server := newFakeServer(t, func(statement string) string {
		switch {
		case strings.HasPrefix(statement, "CREATE ROLE"):
			return "42710"
		case strings.HasPrefix(statement, "CREATE DATABASE"):
			return "42P04"
		}
		return ""
	})
	if err := patroni.PostBootstrap(t.Context(), testNode(), server.connString()); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(server.statements, func(s string) bool {
		return strings.HasPrefix(s, `ALTER ROLE "admin" WITH LOGIN CREATEROLE PASSWORD`)
	}) {
		t.Error("the admin was not given its password again")
	}
}

func TestPostBootstrapFails(t *testing.T) {
	for name, test := range map[string]struct{ refused, want string }{
		"role":     {"CREATE ROLE \"admin\"", `post-bootstrap of the server: role "admin": ERROR: refused (SQLSTATE 58000)`},
		"database": {"CREATE DATABASE", "post-bootstrap of the server: ERROR: refused (SQLSTATE 58000)"},
		"table":    {"CREATE TABLE", `post-bootstrap of database "app": ERROR: refused (SQLSTATE 58000)`},
	} {
		t.Run(name, func(t *testing.T) {
			server := newFakeServer(t, func(statement string) string {
				if strings.HasPrefix(statement, test.refused) {
					return "58000"
				}
				return ""
			})
			err := patroni.PostBootstrap(t.Context(), testNode(), server.connString())
			if err == nil || err.Error() != test.want {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := patroni.PostBootstrap(ctx, testNode(), newFakeServer(t, nothing).connString()); err == nil {
		t.Error("an ended context gave no error")
	}
	if err := patroni.PostBootstrap(t.Context(), testNode(), "no=such=string"); err == nil {
		t.Error("a bad connection string gave no error")
	}
}
