// Package postgres does what the broker needs done inside an instance's
// PostgreSQL: it proves that writes work, makes and ends logins, and changes
// extensions.
//
//	db := postgres.Server{Host: "db.example.com"} // where the routers are
//	err := db.CreateLogin(ctx, cluster, postgres.Login{Credentials: credentials})
//
// Each call may be repeated, whatever became of the last one. A [Refusal] is an
// error that no repetition mends.
package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/state"
)

// Server is PostgreSQL of every instance: behind the routers, at the instance's
// public port.
type Server struct {
	// Host is where the routers are reached.
	Host string
	// Roots returns what servers are verified by; nil: nothing, and connections are
	// plain.
	Roots func() *x509.CertPool
}

// Login is the login of one binding.
type Login struct {
	state.Credentials
	// ReadOnly says that the login can read every table and change nothing.
	ReadOnly bool
	// Expires is until when PostgreSQL lets it in; zero: for ever.
	Expires time.Time
}

// attemptTimeout bounds one attempt at anything: the routers hold connections
// of a cluster without a leader, and whoever calls tries again.
const attemptTimeout = 10 * time.Second

// errNotSynchronous says that a leader would acknowledge writes by itself.
var errNotSynchronous = errors.New("the leader does not wait for a standby yet")

// heartbeat is a write that leaves nothing behind.
const heartbeat = `
	INSERT INTO pgpatron.heartbeat (id, at) VALUES (1, now())
	ON CONFLICT (id) DO UPDATE SET at = excluded.at`

// ProveWrite writes a row through the public port. In a synchronous cluster the
// row is on a standby, too, when it returns: Patroni puts the standby's name
// into /sync only two seconds after PostgreSQL began to wait for it, so that
// key is not waited for.
func (s Server) ProveWrite(ctx context.Context, c state.Cluster) error {
	return s.session(ctx, c, func(ctx context.Context, conn *pgx.Conn) error {
		var standbys string
		if err := conn.QueryRow(ctx, "SELECT current_setting('synchronous_standby_names')").Scan(&standbys); err != nil {
			return err
		}
		if c.Synchronous && standbys == "" {
			return errNotSynchronous
		}
		_, err := conn.Exec(ctx, heartbeat)
		return err
	})
}

// session runs work on a connection of the admin role to the leader.
func (s Server) session(ctx context.Context, c state.Cluster, work func(ctx context.Context, conn *pgx.Conn) error) error {
	at := endpoint{host: s.Host, port: uint16(c.AllocatedPort)}
	if s.Roots != nil {
		at.roots = s.Roots()
	}
	return at.session(ctx, c, work)
}

// endpoint is where a server is reached, and what it is verified by if that is
// known.
type endpoint struct {
	host  string
	port  uint16
	roots *x509.CertPool
}

// session runs work on a connection of the admin role.
func (e endpoint) session(ctx context.Context, c state.Cluster, work func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	conn, err := e.connect(ctx, c)
	if err != nil {
		return err
	}
	err = work(ctx, conn)
	// The work's outcome is known; a failed good-bye changes nothing.
	_ = conn.Close(ctx)
	return err
}

// connect logs in as the admin. While passwords are replaced, there are two of which
// either may hold.
func (e endpoint) connect(ctx context.Context, c state.Cluster) (conn *pgx.Conn, err error) {
	for _, login := range c.AdminLogins() {
		conn, err = e.logIn(ctx, login, c.Database)
		if wrong, ok := errors.AsType[*pgconn.PgError](err); !ok || wrong.Code != invalidPassword {
			return conn, err
		}
	}
	return nil, err
}

// invalidPassword is what PostgreSQL answers to a password that is not the one.
const invalidPassword = "28P01"

// logIn connects over TLS where the server speaks that: one from before there were
// certificates does not.
func (e endpoint) logIn(ctx context.Context, login state.Credentials, database string) (*pgx.Conn, error) {
	// The string keeps what the environment says about PostgreSQL out.
	cfg, err := pgx.ParseConfig("host=localhost port=5432 user=admin password=none dbname=app sslmode=disable application_name=pgpatron")
	if err != nil {
		return nil, err
	}
	cfg.Host, cfg.Port = e.host, e.port
	if e.roots != nil {
		cfg.TLSConfig = &tls.Config{RootCAs: e.roots, ServerName: e.host, MinVersion: tls.VersionTLS12}
		cfg.Fallbacks = []*pgconn.FallbackConfig{{Host: e.host, Port: e.port}}
	}
	cfg.Database, cfg.User, cfg.Password = database, login.Username, login.Password.Reveal()
	return pgx.ConnectConfig(ctx, cfg)
}

// execer is what runs a statement.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

func execAll(ctx context.Context, on execer, statements ...string) error {
	for _, sql := range statements {
		if _, err := on.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}
