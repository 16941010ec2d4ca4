package patroni

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// What PostgreSQL answers when something is there already.
const (
	duplicateDatabase = "42P04"
	duplicateObject   = "42710"
)

// bootstrapTimeout bounds PostBootstrap as a whole: Patroni waits for it
// without a limit.
const bootstrapTimeout = time.Minute

// PostBootstrap fills a cluster that Patroni has just made: the roles, the
// database and the rights that brokers and bindings build on, by the names and
// passwords in node. connString is the one that Patroni hands to its
// post_bootstrap command. It may be done again.
//
// No password reaches the server: roles are given SCRAM verifiers.
//
// What a broker does as the admin, in the application's database, for a binding
// x:
//
//	CREATE ROLE x LOGIN PASSWORD '<SCRAMVerifier>';
//	GRANT owner TO x WITH INHERIT FALSE, SET TRUE;
//	ALTER ROLE x SET role = 'owner';
//
// and to end it:
//
//	ALTER ROLE x NOLOGIN;
//	SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'x';
//	BEGIN; REASSIGN OWNED BY x TO owner; DROP OWNED BY x; DROP ROLE x; COMMIT;
//
// Without INHERIT FALSE, x could, by SET ROLE NONE, own objects and hand out
// rights that outlive it: PostgreSQL does not revoke what somebody granted who
// inherits from the owner, and then refuses to drop the role.
func PostBootstrap(ctx context.Context, node NodeConfig, connString string) error {
	ctx, cancel := context.WithTimeout(ctx, bootstrapTimeout)
	defer cancel()
	cfg, err := pgx.ParseConfig(connString)
	if err != nil {
		return fmt.Errorf("post-bootstrap: %w", err)
	}
	cfg.User = node.Superuser.Username
	cfg.Password = node.Superuser.Password.Reveal()
	cfg.RuntimeParams = map[string]string{
		"application_name": "patroni-node post-bootstrap",
		"search_path":      "pg_catalog",
		// No standby is there yet to wait for.
		"synchronous_commit":      "local",
		"log_statement":           "none",
		"log_min_error_statement": "panic",
	}
	b := bootstrap{node: node, conn: cfg}
	if err := b.in(ctx, cfg.Database, b.server); err != nil {
		return fmt.Errorf("post-bootstrap of the server: %w", err)
	}
	if err := b.in(ctx, node.Database, b.database); err != nil {
		return fmt.Errorf("post-bootstrap of database %q: %w", node.Database, err)
	}
	return nil
}

// bootstrap is one run of PostBootstrap.
type bootstrap struct {
	node NodeConfig
	conn *pgx.ConnConfig
}

// in calls do with a connection to a database.
func (b bootstrap) in(ctx context.Context, database string, do func(context.Context, *pgx.Conn) error) error {
	cfg := b.conn.Copy()
	cfg.Database = database
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, conn), conn.Close(context.WithoutCancel(ctx)))
}

// server makes what all databases share: roles, the database, who may connect.
func (b bootstrap) server(ctx context.Context, conn *pgx.Conn) error {
	if err := b.roles(ctx, conn); err != nil {
		return err
	}
	err := b.exec(ctx, conn, "CREATE DATABASE {database} OWNER {admin}")
	if err != nil && !hasCode(err, duplicateDatabase) {
		return err
	}
	return b.exec(ctx, conn,
		"REVOKE ALL ON DATABASE {database}, postgres, template1 FROM PUBLIC",
		// Bindings do not inherit the owner's rights, and one grant a binding
		// would have them contend for one row.
		"GRANT CONNECT ON DATABASE {database} TO PUBLIC",
		"GRANT CREATE, TEMPORARY ON DATABASE {database} TO {owner}",
		// pg_rewind looks at its source through this database.
		"GRANT CONNECT ON DATABASE postgres TO {replication}",
	)
}

// roles makes the owner, the admin and the replication role. The admin makes
// and drops the roles of bindings: it inherits each of them, so that it can end
// their sessions and pass on what they own.
func (b bootstrap) roles(ctx context.Context, conn *pgx.Conn) error {
	admin, err := SCRAMVerifier(b.node.Admin.Password.Reveal())
	if err != nil {
		return err
	}
	replication, err := SCRAMVerifier(b.node.Replication.Password.Reveal())
	if err != nil {
		return err
	}
	for _, role := range []struct{ name, options string }{
		{b.node.Owner, "NOLOGIN"},
		{b.node.Admin.Username, "LOGIN CREATEROLE PASSWORD '" + admin + "'"},
		{b.node.Replication.Username, "LOGIN REPLICATION PASSWORD '" + replication + "'"},
	} {
		if err := b.role(ctx, conn, role.name, role.options); err != nil {
			return fmt.Errorf("role %q: %w", role.name, err)
		}
	}
	return b.exec(ctx, conn,
		"GRANT {owner} TO {admin} WITH ADMIN TRUE, INHERIT TRUE, SET TRUE",
		"GRANT pg_signal_backend, pg_use_reserved_connections TO {admin}",
		"ALTER ROLE {admin} SET createrole_self_grant = 'set, inherit'",
		// What applications put into public must not run as the admin.
		"ALTER ROLE {admin} SET search_path = pg_catalog",
	)
}

// role makes a role, or gives it its options again.
func (b bootstrap) role(ctx context.Context, conn *pgx.Conn, name, options string) error {
	role := " ROLE " + pgx.Identifier{name}.Sanitize() + " WITH " + options
	err := b.exec(ctx, conn, "CREATE"+role)
	if hasCode(err, duplicateObject) {
		err = b.exec(ctx, conn, "ALTER"+role)
	}
	return err
}

// database makes what lies within the application's database. The owner role
// has the schema that applications use; the heartbeat table is the broker's.
func (b bootstrap) database(ctx context.Context, conn *pgx.Conn) error {
	return b.exec(ctx, conn,
		"ALTER SCHEMA public OWNER TO {owner}",
		"CREATE SCHEMA IF NOT EXISTS pgpatron AUTHORIZATION {admin}",
		"CREATE TABLE IF NOT EXISTS pgpatron.heartbeat (id int PRIMARY KEY, at timestamptz NOT NULL)",
		"ALTER TABLE pgpatron.heartbeat OWNER TO {admin}",
		// Otherwise every login, one that is to read only, too, could fill the disk.
		"REVOKE EXECUTE ON FUNCTION lo_creat(int), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC",
		"GRANT EXECUTE ON FUNCTION lo_creat(int), lo_create(oid), lo_from_bytea(oid, bytea) TO {owner}",
	)
}

// exec runs statements in which the braces name what node calls by a name of
// its own.
func (b bootstrap) exec(ctx context.Context, conn *pgx.Conn, statements ...string) error {
	names := strings.NewReplacer(
		"{admin}", pgx.Identifier{b.node.Admin.Username}.Sanitize(),
		"{database}", pgx.Identifier{b.node.Database}.Sanitize(),
		"{owner}", pgx.Identifier{b.node.Owner}.Sanitize(),
		"{replication}", pgx.Identifier{b.node.Replication.Username}.Sanitize(),
	)
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, names.Replace(statement)); err != nil {
			return err
		}
	}
	return nil
}

func hasCode(err error, code string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == code
}
