package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// Database does what the broker needs done inside an instance. Each call may
// be repeated, whatever became of the last one.
type Database interface {
	// ProveWrite writes through the instance's public port.
	ProveWrite(ctx context.Context, c state.Cluster) error
	// CreateLogin makes a role that can log in and shares everything with the
	// instance's other bindings.
	CreateLogin(ctx context.Context, c state.Cluster, login state.Credentials) error
	// DropLogin ends the role's sessions and removes it; what it made stays.
	DropLogin(ctx context.Context, c state.Cluster, role string) error
	// ChangeExtensions creates the wanted extensions and drops the superfluous.
	ChangeExtensions(ctx context.Context, c state.Cluster, wanted, superfluous []string) error
	// Settings returns what these settings are on the node at host:port.
	Settings(ctx context.Context, c state.Cluster, addr string, names []string) (map[string]string, error)
}

// Postgres is the Database of real instances: PostgreSQL behind the routers.
type Postgres struct {
	// Host is where the routers are reached.
	Host string
}

// attemptTimeout bounds one attempt at anything: the routers hold connections
// of a cluster without a leader, and whoever calls tries again.
const attemptTimeout = 10 * time.Second

// errNotSynchronous says that a leader would acknowledge writes by itself.
var errNotSynchronous = errors.New("the leader does not wait for a standby yet")

// ProveWrite writes a row through the public port. In a synchronous cluster the
// row is on a standby, too, when it returns: Patroni puts the standby's name
// into /sync only two seconds after PostgreSQL began to wait for it, so that
// key is not waited for.
func (p Postgres) ProveWrite(ctx context.Context, c state.Cluster) error {
	return p.session(ctx, c, func(ctx context.Context, conn *pgx.Conn) error {
		var standbys string
		if err := conn.QueryRow(ctx, "SELECT current_setting('synchronous_standby_names')").Scan(&standbys); err != nil {
			return err
		}
		if c.Synchronous && standbys == "" {
			return errNotSynchronous
		}
		_, err := conn.Exec(ctx, `
			INSERT INTO pgpatron.heartbeat (id, at) VALUES (1, now())
			ON CONFLICT (id) DO UPDATE SET at = excluded.at`)
		return err
	})
}

// CreateLogin makes the role, or brings one that is there to what it should be.
// The role's sessions act as the owner role from their first statement, so what
// they create belongs to all bindings alike.
func (p Postgres) CreateLogin(ctx context.Context, c state.Cluster, login state.Credentials) error {
	verifier, err := patroni.SCRAMVerifier(login.Password.Reveal())
	if err != nil {
		return err
	}
	role := pgx.Identifier{login.Username}.Sanitize()
	owner := pgx.Identifier{c.AppCredentials.Username}.Sanitize()
	return p.session(ctx, c, func(ctx context.Context, conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			exists, err := roleExists(ctx, tx, login.Username)
			if err != nil {
				return err
			}
			verb := "CREATE"
			if exists {
				verb = "ALTER"
			}
			return execAll(ctx, tx,
				fmt.Sprintf("%s ROLE %s LOGIN PASSWORD '%s'", verb, role, verifier),
				// Without INHERIT FALSE, rights that the role grants as itself could keep
				// it from being dropped.
				fmt.Sprintf("GRANT %s TO %s WITH INHERIT FALSE, SET TRUE", owner, role),
				fmt.Sprintf("ALTER ROLE %s SET role = %s", role, owner),
			)
		})
	})
}

// DropLogin shuts the role out, ends its sessions, hands what it owns to the
// owner role, and drops it.
func (p Postgres) DropLogin(ctx context.Context, c state.Cluster, name string) error {
	role := pgx.Identifier{name}.Sanitize()
	owner := pgx.Identifier{c.AppCredentials.Username}.Sanitize()
	return p.session(ctx, c, func(ctx context.Context, conn *pgx.Conn) error {
		exists, err := roleExists(ctx, conn, name)
		if err != nil || !exists {
			return err
		}
		// Committed before sessions are ended, so that none comes after.
		if err := execAll(ctx, conn, fmt.Sprintf("ALTER ROLE %s NOLOGIN", role)); err != nil {
			return err
		}
		if err := endSessions(ctx, conn, name); err != nil {
			return err
		}
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			return execAll(ctx, tx,
				fmt.Sprintf("REASSIGN OWNED BY %s TO %s", role, owner),
				fmt.Sprintf("DROP OWNED BY %s", role),
				fmt.Sprintf("DROP ROLE %s", role),
			)
		})
	})
}

// endSessions ends the role's sessions and waits until each is gone.
func endSessions(ctx context.Context, conn *pgx.Conn, role string) error {
	_, err := conn.Exec(ctx, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1", role)
	return err
}

// session runs work on a connection of the admin role to the leader.
func (p Postgres) session(ctx context.Context, c state.Cluster, work func(ctx context.Context, conn *pgx.Conn) error) error {
	return sessionAt(ctx, c, p.Host, uint16(c.AllocatedPort), work)
}

// sessionAt runs work on a connection of the admin role to a server.
func sessionAt(ctx context.Context, c state.Cluster, host string, port uint16, work func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	// The string keeps what the environment says about PostgreSQL out.
	cfg, err := pgx.ParseConfig("host=localhost port=5432 user=admin password=none dbname=app sslmode=disable application_name=pgpatron")
	if err != nil {
		return err
	}
	cfg.Host, cfg.Port = host, port
	cfg.Database, cfg.User, cfg.Password = c.Database, c.AdminCredentials.Username, c.AdminCredentials.Password.Reveal()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	err = work(ctx, conn)
	// The work's outcome is known; a failed good-bye changes nothing.
	_ = conn.Close(ctx)
	return err
}

// querier is what a connection and a transaction have in common.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func roleExists(ctx context.Context, q querier, name string) (bool, error) {
	var one int
	err := q.QueryRow(ctx, "SELECT 1 FROM pg_roles WHERE rolname = $1", name).Scan(&one)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// execer is what runs a statement.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

func execAll(ctx context.Context, on execer, statements ...string) error {
	for _, s := range statements {
		if _, err := on.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
