package postgres

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgpatron/pgpatron/state"
)

// Fence ends all writing in an instance's database: sessions are ended, and none
// but the admin's are let in. It returns a position in the WAL that is behind
// every commit that anybody was told of, and is on disk with all before it. addr
// is the leader's: the routers may hold new connections meanwhile.
func (Server) Fence(ctx context.Context, c state.Cluster, addr string) (lsn int64, err error) {
	err = sessionOn(ctx, c, addr, func(ctx context.Context, conn *pgx.Conn) error {
		database := pgx.Identifier{c.Database}.Sanitize()
		if err := writing(ctx, conn,
			"REVOKE CONNECT ON DATABASE "+database+" FROM PUBLIC",
			"ALTER DATABASE "+database+" SET default_transaction_read_only = on",
		); err != nil {
			return fmt.Errorf("letting nobody in: %w", err)
		}
		if err := endAllSessions(ctx, conn); err != nil {
			return fmt.Errorf("ending sessions: %w", err)
		}
		if err := conn.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").Scan(&lsn); err != nil {
			return err
		}
		// Its commit takes to disk, and to whoever follows, what lies before it.
		if err := writing(ctx, conn, "SET LOCAL synchronous_commit = on", heartbeat); err != nil {
			return fmt.Errorf("writing the last row: %w", err)
		}
		return nil
	})
	return lsn, err
}

// Unfence lets everybody in again who may, on the leader at addr.
func (Server) Unfence(ctx context.Context, c state.Cluster, addr string) error {
	return sessionOn(ctx, c, addr, func(ctx context.Context, conn *pgx.Conn) error {
		database := pgx.Identifier{c.Database}.Sanitize()
		return writing(ctx, conn,
			"GRANT CONNECT ON DATABASE "+database+" TO PUBLIC",
			"ALTER DATABASE "+database+" RESET default_transaction_read_only",
		)
	})
}

// endAllSessions ends every session but this one, once CONNECT was revoked. One
// that is just beginning holds a lock on its database from before PostgreSQL asks
// whether it may connect until it is listed among the others. So whoever holds it
// now may have got in; when they do not any more, all who got in are listed. The
// admin's own that begin after this only read: the registrar looks in again and
// again.
func endAllSessions(ctx context.Context, conn *pgx.Conn) error {
	const beginning = `
		SELECT coalesce(array_agg(virtualtransaction), '{}'), clock_timestamp() FROM pg_locks
		WHERE locktype = 'object' AND classid = 'pg_database'::regclass AND pid <> pg_backend_pid()
			AND objid = (SELECT oid FROM pg_database WHERE datname = current_database())`
	const still = "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND virtualtransaction = ANY ($1)"
	const end = `
		SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND usename IS NOT NULL AND pid <> pg_backend_pid()
			AND (usename <> current_user OR backend_start < $1)`
	var early []string
	var now time.Time
	if err := conn.QueryRow(ctx, beginning).Scan(&early, &now); err != nil {
		return err
	}
	for {
		var begin, others int
		if err := conn.QueryRow(ctx, still, early).Scan(&begin); err != nil {
			return err
		}
		if err := conn.QueryRow(ctx, end, now).Scan(&others); err != nil {
			return err
		}
		if begin+others == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d sessions do not end", begin+others)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// writing runs statements in a transaction that may write, whatever the default.
func writing(ctx context.Context, conn *pgx.Conn, statements ...string) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		return execAll(ctx, tx, statements...)
	})
}

// sessionOn runs work on a connection of the admin role to the server at addr.
func sessionOn(ctx context.Context, c state.Cluster, addr string, work func(ctx context.Context, conn *pgx.Conn) error) error {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return err
	}
	return endpoint{host: host, port: uint16(port)}.session(ctx, c, work)
}
