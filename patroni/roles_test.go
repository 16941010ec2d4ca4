package patroni_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// rolesServer is a real PostgreSQL after PostBootstrap.
type rolesServer struct {
	url  string
	node patroni.NodeConfig
}

// newRolesServer runs PostBootstrap, twice, on the server of fixtures.Database.
func newRolesServer(t *testing.T) rolesServer {
	t.Helper()
	url := fixtures.Database(t)
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	node := testNode()
	node.Superuser = state.Credentials{Username: cfg.User, Password: state.Secret(cfg.Password)}
	node.Owner, node.Admin.Username, node.Replication.Username = "test_owner", "test_admin", "test_replicator"
	node.Database = "test_app"
	s := rolesServer{url: url, node: node}
	t.Cleanup(func() { s.drop(t) })
	for range 2 {
		if err := patroni.PostBootstrap(t.Context(), node, url); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// drop leaves nothing of the test on the server.
func (s rolesServer) drop(t *testing.T) {
	conn, err := pgx.Connect(context.Background(), s.url)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close(context.Background())
	for _, statement := range []string{
		"DROP DATABASE IF EXISTS test_app WITH (FORCE)",
		"REVOKE ALL ON DATABASE postgres FROM test_replicator",
		"DROP ROLE IF EXISTS x, y, test_admin, test_owner, test_replicator",
	} {
		if _, err := conn.Exec(context.Background(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

func (s rolesServer) connect(t *testing.T, user, password, database string) (*pgx.Conn, error) {
	t.Helper()
	cfg, err := pgx.ParseConfig(s.url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.User, cfg.Password, cfg.Database = user, password, database
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err == nil {
		t.Cleanup(func() { conn.Close(context.Background()) })
	}
	return conn, err
}

// as returns a session of the application's database.
func (s rolesServer) as(t *testing.T, user, password string) *pgx.Conn {
	t.Helper()
	conn, err := s.connect(t, user, password, s.node.Database)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (s rolesServer) admin(t *testing.T) *pgx.Conn {
	t.Helper()
	return s.as(t, s.node.Admin.Username, s.node.Admin.Password.Reveal())
}

// bind makes a binding's role as the documentation of PostBootstrap says.
func (s rolesServer) bind(t *testing.T, role, password string) {
	t.Helper()
	verifier, err := patroni.SCRAMVerifier(password)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, s.admin(t),
		"CREATE ROLE "+role+" LOGIN PASSWORD '"+verifier+"'",
		"GRANT test_owner TO "+role+" WITH INHERIT FALSE, SET TRUE",
		"ALTER ROLE "+role+" SET role = 'test_owner'")
}

// unbind ends a binding's role as the documentation of PostBootstrap says.
func (s rolesServer) unbind(t *testing.T, role string) {
	t.Helper()
	mustExec(t, s.admin(t),
		"ALTER ROLE "+role+" NOLOGIN",
		"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '"+role+"'",
		"BEGIN", "REASSIGN OWNED BY "+role+" TO test_owner", "DROP OWNED BY "+role, "DROP ROLE "+role, "COMMIT")
}

func mustExec(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.Code != code {
		t.Errorf("%s: got %v, want SQLSTATE %s", what, err, code)
	}
}

const forbidden = "42501"

func TestRolesShareTables(t *testing.T) {
	s := newRolesServer(t)
	s.bind(t, "x", "x-secret")
	s.bind(t, "y", "y-secret")
	mustExec(t, s.as(t, "x", "x-secret"),
		"CREATE TABLE shared (i int PRIMARY KEY)", "INSERT INTO shared VALUES (1)",
		"CREATE SCHEMA more", "CREATE EXTENSION pgcrypto", "CREATE TEMPORARY TABLE short (i int)")
	mustExec(t, s.as(t, "y", "y-secret"),
		"ALTER TABLE shared ADD COLUMN t text", "INSERT INTO shared VALUES (2, 'two')",
		"DROP TABLE shared", "DROP SCHEMA more", "DROP EXTENSION pgcrypto")
	mustExec(t, s.admin(t), "INSERT INTO pgpatron.heartbeat VALUES (1, now())")
}

func TestRolesAreKeptOut(t *testing.T) {
	s := newRolesServer(t)
	s.bind(t, "x", "x-secret")
	conn := s.as(t, "x", "x-secret")
	for _, statement := range []string{
		"SELECT rolpassword FROM pg_authid",
		"COPY (SELECT 1) TO PROGRAM 'cat'",
		"COPY (SELECT 1) TO '/tmp/x'",
		"SELECT pg_read_file('/etc/passwd')",
		"SELECT pg_ls_dir('.')",
		"SELECT lo_import('/etc/passwd')",
		"TABLE pgpatron.heartbeat",
		"CREATE ROLE z",
		"CREATE DATABASE z",
		"ALTER ROLE test_admin PASSWORD 'z'",
		"ALTER ROLE test_owner LOGIN",
		"GRANT test_owner TO test_replicator",
		"SET ROLE test_admin",
		"SET SESSION AUTHORIZATION test_admin",
		"SET log_statement = 'all'",
		"ALTER SYSTEM SET log_statement = 'all'",
		"DROP DATABASE test_app",
		"SELECT pg_promote()",
	} {
		_, err := conn.Exec(t.Context(), statement)
		wantCode(t, statement, err, forbidden)
	}
	mustExec(t, conn, "SET ROLE NONE")
	for _, statement := range []string{"CREATE TABLE own (i int)", "CREATE SCHEMA own", "CREATE TEMPORARY TABLE own (i int)", "SELECT lo_create(0)"} {
		_, err := conn.Exec(t.Context(), statement)
		wantCode(t, "as itself: "+statement, err, forbidden)
	}
	for _, database := range []string{"postgres", "template1"} {
		_, err := s.connect(t, "x", "x-secret", database)
		wantCode(t, "connecting to "+database, err, forbidden)
	}
}

// Whatever a binding did, ending it works, and what it made stays.
func TestRolesEnd(t *testing.T) {
	s := newRolesServer(t)
	s.bind(t, "x", "x-secret")
	s.bind(t, "y", "y-secret")
	conn := s.as(t, "x", "x-secret")
	mustExec(t, conn,
		"CREATE TABLE a (i int)", "GRANT ALL ON a TO x WITH GRANT OPTION",
		"CREATE TABLE b (i int)", "GRANT ALL ON b TO x WITH GRANT OPTION",
		"GRANT CREATE ON SCHEMA public TO x",
		"ALTER TABLE a ENABLE ROW LEVEL SECURITY", "CREATE POLICY p ON a TO x USING (true)",
		"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO x",
		"SET ROLE NONE",
		"GRANT SELECT ON a TO y WITH GRANT OPTION", "GRANT SELECT ON b TO y WITH GRANT OPTION",
		"ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO y",
		"CREATE TABLE own (i int)", "INSERT INTO own VALUES (1)",
		"GRANT ALL ON own TO y WITH GRANT OPTION", "REVOKE ALL ON own FROM test_owner, test_admin",
		"CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
		"CREATE TYPE e AS ENUM ('a')", "CREATE VIEW v AS SELECT * FROM own",
		"SET ROLE test_owner", "SELECT lo_create(4711)", "REVOKE ALL ON b FROM x CASCADE",
		"SET ROLE NONE", "BEGIN", "LOCK TABLE own")

	s.unbind(t, "x")
	_, err := conn.Exec(t.Context(), "SELECT 1")
	if err == nil {
		t.Error("a session outlived its role")
	}
	_, err = s.connect(t, "x", "x-secret", s.node.Database)
	if err == nil || !strings.Contains(err.Error(), "28P01") {
		t.Errorf("login of a dropped role: %v", err)
	}
	mustExec(t, s.as(t, "y", "y-secret"),
		"INSERT INTO own VALUES (2)", "DROP FUNCTION f", "DROP VIEW v", "DROP TABLE own, a, b", "DROP TYPE e", "SELECT lo_unlink(4711)")
	s.unbind(t, "y")
}
