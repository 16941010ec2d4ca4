package postgres_test

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/broker/postgres"
	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// instance is a real PostgreSQL as Patroni leaves it, without a router before it.
type instance struct {
	t        *testing.T
	url      string
	database postgres.Server
	cluster  state.Cluster
}

// newInstance prepares the server of fixtures.Database.
func newInstance(t *testing.T) *instance {
	t.Helper()
	url := fixtures.Database(t)
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	login := func(name string) state.Credentials { return state.Credentials{Username: name, Password: "secret"} }
	i := &instance{t: t, url: url, database: postgres.Server{Host: cfg.Host}, cluster: state.Cluster{
		InstanceID: "i1", AllocatedPort: int(cfg.Port), Database: "broker_app",
		AdminCredentials: login("broker_admin"), AppCredentials: login("broker_owner"),
	}}
	t.Cleanup(i.drop)
	err = patroni.PostBootstrap(t.Context(), patroni.NodeConfig{
		Superuser: state.Credentials{Username: cfg.User, Password: state.Secret(cfg.Password)},
		Admin:     i.cluster.AdminCredentials, Owner: "broker_owner", Database: "broker_app", Replication: login("broker_replicator"),
	}, url)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// A server that speaks plain, as one from before there were certificates, is reached
// all the same.
func TestServerWithoutTLSIsReached(t *testing.T) {
	i := newInstance(t)
	asked := false
	i.database.Roots = func() *x509.CertPool {
		asked = true
		return x509.NewCertPool()
	}
	if err := i.database.ProveWrite(t.Context(), i.cluster); err != nil || !asked {
		t.Errorf("%v; what it would be verified by was asked for: %t", err, asked)
	}
}

// While the admin's password is replaced either may hold; another one does not.
func TestServerIsReachedWithEitherPassword(t *testing.T) {
	i := newInstance(t)
	right, wrong := i.cluster.AdminCredentials, i.cluster.AdminCredentials
	wrong.Password = "wrong"
	for name, c := range map[string]struct {
		login, spare state.Credentials
		let          bool
	}{
		"the first": {right, wrong, true}, "the spare one": {wrong, right, true}, "none": {wrong, wrong, false}, "no spare one": {wrong, state.Credentials{}, false},
	} {
		i.cluster.AdminCredentials, i.cluster.SpareAdmin = c.login, c.spare
		err := i.database.ProveWrite(t.Context(), i.cluster)
		if refused, ok := errors.AsType[*pgconn.PgError](err); c.let && err != nil || !c.let && (!ok || refused.Code != "28P01") {
			t.Errorf("%s is the right one: got %v", name, err)
		}
	}
}

// drop leaves nothing of the test on the server.
func (i *instance) drop() {
	conn, err := pgx.Connect(context.Background(), i.url)
	if err != nil {
		i.t.Error(err)
		return
	}
	defer conn.Close(context.Background())
	for _, statement := range []string{
		"DROP DATABASE IF EXISTS broker_app WITH (FORCE)",
		"REVOKE ALL ON DATABASE postgres FROM broker_replicator",
		"DROP ROLE IF EXISTS writer, other, reader, broker_owner_reader, broker_admin, broker_owner, broker_replicator",
	} {
		if _, err := conn.Exec(context.Background(), statement); err != nil {
			i.t.Errorf("%s: %v", statement, err)
		}
	}
}

// bind makes a login of that name and returns a session of it.
func (i *instance) bind(login postgres.Login) *pgx.Conn {
	i.t.Helper()
	login.Password = "secret-of-" + state.Secret(login.Username)
	if err := i.database.CreateLogin(i.t.Context(), i.cluster, login); err != nil {
		i.t.Fatal(err)
	}
	conn, err := i.connect(login.Username, "broker_app")
	if err != nil {
		i.t.Fatal(err)
	}
	return conn
}

func (i *instance) connect(user, database string) (*pgx.Conn, error) {
	i.t.Helper()
	cfg, err := pgx.ParseConfig(i.url)
	if err != nil {
		i.t.Fatal(err)
	}
	cfg.User, cfg.Password, cfg.Database = user, "secret-of-"+user, database
	conn, err := pgx.ConnectConfig(i.t.Context(), cfg)
	if err == nil {
		i.t.Cleanup(func() { conn.Close(context.Background()) })
	}
	return conn, err
}

func (i *instance) unbind(name string) {
	i.t.Helper()
	for range 2 {
		if err := i.database.DropLogin(i.t.Context(), i.cluster, name); err != nil {
			i.t.Fatal(err)
		}
	}
}

func (i *instance) must(conn *pgx.Conn, statements ...string) {
	i.t.Helper()
	for _, statement := range statements {
		if _, err := conn.Exec(i.t.Context(), statement); err != nil {
			i.t.Fatalf("%s: %v", statement, err)
		}
	}
}

// refused checks that each statement fails for want of a right.
func (i *instance) refused(conn *pgx.Conn, statements ...string) {
	i.t.Helper()
	for _, statement := range statements {
		_, err := conn.Exec(i.t.Context(), statement)
		wantCode(i.t, statement, err, "42501")
	}
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != code {
		t.Errorf("%s: got %v, want SQLSTATE %s", what, err, code)
	}
}

func named(name string) postgres.Login {
	return postgres.Login{Credentials: state.Credentials{Username: name}}
}

func TestWritersShareTheirTables(t *testing.T) {
	i := newInstance(t)
	writer, other := i.bind(named("writer")), i.bind(named("other"))
	i.must(writer, "CREATE SCHEMA more", "CREATE TABLE more.t (i int)", "CREATE TABLE t (id serial PRIMARY KEY, i int)", "INSERT INTO t (i) VALUES (1)")
	i.must(other, "ALTER TABLE t ADD COLUMN more text", "INSERT INTO t (i) VALUES (2)", "CREATE INDEX ON t (i)", "ALTER TABLE more.t RENAME TO u", "DROP TABLE more.u")
	if err := i.database.ProveWrite(t.Context(), i.cluster); err != nil {
		t.Error(err)
	}
	// Unbound in the middle of its work: what it made stays.
	i.must(writer, "SET ROLE NONE", "BEGIN", "SET ROLE broker_owner", "LOCK TABLE t")
	i.unbind("writer")
	if _, err := writer.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a session outlived its login")
	}
	i.must(other, "INSERT INTO t (i) VALUES (3)", "DROP TABLE t", "DROP SCHEMA more")
}

// What a binding must not reach: others' passwords and data, the server's files
// and programs.
func TestWriterIsKeptIn(t *testing.T) {
	i := newInstance(t)
	conn := i.bind(named("writer"))
	i.bind(named("other"))
	i.refused(conn,
		"SELECT rolpassword FROM pg_authid", "SELECT passwd FROM pg_shadow", "ALTER ROLE other PASSWORD 'x'", "SET SESSION AUTHORIZATION other",
		"COPY (SELECT 1) TO PROGRAM 'cat'", "COPY (SELECT 1) TO '/tmp/x'", "CREATE TABLE x (t text); COPY x FROM '/etc/passwd'",
		"SELECT pg_read_file('/etc/passwd')", "SELECT pg_read_binary_file('PG_VERSION')", "SELECT pg_ls_dir('.')", "SELECT pg_ls_waldir()",
		"SELECT lo_import('/etc/passwd')", "SELECT lo_export(1, '/tmp/x')",
		"CREATE EXTENSION dblink", "CREATE EXTENSION postgres_fdw", "CREATE EXTENSION file_fdw",
		"CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'getpid'", "LOAD 'x'",
		"ALTER SYSTEM SET work_mem = '1MB'", "CREATE DATABASE x", "CREATE ROLE x", "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'other'", "SELECT pg_reload_conf()", "TABLE pgpatron.heartbeat",
	)
	for _, database := range []string{"postgres", "template1"} {
		_, err := i.connect("writer", database)
		wantCode(t, "connecting to "+database, err, "42501")
	}
}

// A reader sees what there is and what comes, and changes nothing, whatever it
// says.
func TestReaderReads(t *testing.T) {
	i := newInstance(t)
	writer := i.bind(named("writer"))
	i.must(writer,
		"CREATE TABLE before (id serial, i int)", "INSERT INTO before (i) VALUES (1)",
		"CREATE SCHEMA old", "CREATE TABLE old.t (i int)", "CREATE VIEW seen AS SELECT * FROM before",
		`CREATE TABLE "Odd ""name" (i int)`, "CREATE EXTENSION pgcrypto")
	login := named("reader")
	login.ReadOnly = true
	reader := i.bind(login)
	i.must(reader, "TABLE before", "TABLE old.t", "TABLE seen", `TABLE "Odd ""name"`, "SELECT last_value FROM before_id_seq")
	i.must(writer, "CREATE TABLE after (i int)", "CREATE SCHEMA fresh", "CREATE TABLE fresh.t (i int)", "CREATE MATERIALIZED VIEW kept AS SELECT * FROM before")
	i.must(reader, "TABLE after", "TABLE fresh.t", "TABLE kept")
	_, err := reader.Exec(t.Context(), "INSERT INTO after VALUES (1)")
	wantCode(t, "by default", err, "25006")
	i.must(reader, "SET default_transaction_read_only = off", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE")
	i.refused(reader,
		"INSERT INTO after VALUES (1)", "UPDATE before SET i = 2", "DELETE FROM before", "TRUNCATE before", "SELECT nextval('before_id_seq')",
		"CREATE TABLE x (i int)", "CREATE TEMPORARY TABLE x (i int)", "CREATE SCHEMA x", "DROP TABLE before", "ALTER TABLE before ADD COLUMN x int",
		"SELECT lo_create(0)", "SELECT lo_from_bytea(0, '')", "SET ROLE broker_owner", "SET ROLE broker_owner_reader", "REFRESH MATERIALIZED VIEW kept",
		"SELECT rolpassword FROM pg_authid", "SELECT pg_read_file('/etc/passwd')", "COPY before TO PROGRAM 'cat'", "TABLE pgpatron.heartbeat",
		"DO $$ BEGIN LOCK TABLE before IN ACCESS EXCLUSIVE MODE; END $$",
	)
	i.unbind("reader")
	i.must(writer, "DROP TABLE after")
}

func TestLoginIsLetInUntilItExpires(t *testing.T) {
	i := newInstance(t)
	login := named("writer")
	login.Expires = time.Now().Add(time.Hour)
	i.bind(login)
	login.Password, login.Expires = "secret-of-writer", time.Now().Add(-time.Second)
	if err := i.database.CreateLogin(t.Context(), i.cluster, login); err != nil {
		t.Fatal(err)
	}
	if _, err := i.connect("writer", "broker_app"); err == nil || !strings.Contains(err.Error(), "28P01") {
		t.Errorf("login after it expired: %v", err)
	}
	i.bind(named("writer"))
}
