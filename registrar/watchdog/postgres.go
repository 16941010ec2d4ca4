package watchdog

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/state"
)

// reply is how PostgreSQL took a question.
type reply int

const (
	// answered: it answered, if only to say that it can not serve now.
	answered reply = iota
	// silent: it has not answered in time.
	silent
	// refused: there is nobody: the connection was refused or cut.
	refused
)

// postgres asks one server over one connection that is kept, so that its end is
// noticed when it comes.
type postgres struct {
	target Target
	conn   *pgconn.PgConn
	// abrupt says that the last connection ended as connections do when there is no
	// server any more.
	abrupt bool
}

// ask puts the question whether the server takes writes. It is asked for as
// long as ctx lives.
func (p *postgres) ask(ctx context.Context) (reply, bool) {
	if p.conn == nil {
		conn, err := p.connect(ctx)
		if err != nil {
			return classify(ctx, err), false
		}
		p.conn, p.abrupt = conn, false
	}
	results, err := p.conn.Exec(ctx, "SELECT pg_is_in_recovery()").ReadAll()
	if err != nil {
		p.part(ctx, err)
		return classify(ctx, err), false
	}
	return answered, len(results) == 1 && len(results[0].Rows) == 1 && string(results[0].Rows[0][0]) == "f"
}

// connect logs in, with the spare login if the first one's password is not taken:
// passwords are being replaced then.
func (p *postgres) connect(ctx context.Context) (*pgconn.PgConn, error) {
	conn, err := p.logIn(ctx, p.target.Login)
	if wrong, ok := errors.AsType[*pgconn.PgError](err); ok && wrong.Code == invalidPassword && p.target.Spare.Password != "" {
		return p.logIn(ctx, p.target.Spare)
	}
	return conn, err
}

// invalidPassword is what PostgreSQL answers to a password that is not the one.
const invalidPassword = "28P01"

func (p *postgres) logIn(ctx context.Context, login state.Credentials) (*pgconn.PgConn, error) {
	// The string keeps what the environment says about PostgreSQL out.
	cfg, err := pgconn.ParseConfig("host=localhost port=5432 user=none password=none dbname=none sslmode=disable application_name=pgpatron-watchdog")
	if err != nil {
		return nil, err
	}
	addr, err := netip.ParseAddrPort(p.target.SQL)
	if err != nil {
		return nil, err
	}
	cfg.Host, cfg.Port = addr.Addr().String(), addr.Port()
	cfg.User, cfg.Password, cfg.Database = login.Username, login.Password.Reveal(), p.target.Database
	return pgconn.ConnectConfig(ctx, cfg)
}

// classify tells what a failed attempt says of the server.
func classify(ctx context.Context, err error) reply {
	if _, ok := errors.AsType[*pgconn.PgError](err); ok {
		return answered
	}
	if ctx.Err() != nil || pgconn.Timeout(err) {
		return silent
	}
	return refused
}

// rest waits for d, or for the end of the connection. It reports whether that ended
// abruptly, now or when it was asked last.
func (p *postgres) rest(ctx context.Context, d time.Duration) (abrupt bool) {
	if !p.abrupt {
		p.wait(ctx, d)
	}
	abrupt, p.abrupt = p.abrupt, false
	return abrupt
}

func (p *postgres) wait(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if p.conn == nil {
		<-ctx.Done()
		return
	}
	if err := p.conn.WaitForNotification(ctx); err != nil && (ctx.Err() == nil || p.conn.IsClosed()) {
		p.part(ctx, err)
	}
}

// part drops the connection and notes how it ended.
func (p *postgres) part(ctx context.Context, err error) {
	p.abrupt = classify(ctx, err) == refused || isOrphan(err)
	p.close(ctx)
}

// isOrphan reports whether a process of the server has said good-bye because its postmaster
// is gone. An ordinary stop has the same SQLSTATE, and the words are the server's language;
// where in PostgreSQL's source an error was raised is neither.
func isOrphan(err error) bool {
	said, ok := errors.AsType[*pgconn.PgError](err)
	return ok && said.Code == adminShutdown && said.File == "be-secure.c"
}

// adminShutdown is with what a server ends sessions.
const adminShutdown = "57P01"

func (p *postgres) close(ctx context.Context) {
	if p.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
	defer cancel()
	// A server that hangs hears no good-bye.
	_ = p.conn.Close(ctx)
	p.conn = nil
}
