package patroni

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgpatron/pgpatron/state"
)

// settleTimeout bounds one attempt to settle. A commit waits for a standby: if that
// is gone, only until Patroni has noticed.
const settleTimeout = 10 * time.Second

// settle sees to it that a server has these logins: one that takes writes is given
// them, in one transaction, which replicas follow. It reports whether the server
// has them now. No password reaches it, only SCRAM verifiers.
func settle(ctx context.Context, server *pgx.ConnConfig, l state.Logins) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, server)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	others, replica, err := otherPasswords(ctx, conn, l)
	if err != nil || len(others) == 0 {
		return err == nil, err
	}
	if replica {
		return false, nil
	}
	// A full disk makes transactions read-only by default.
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		return alterAll(ctx, tx, others)
	})
	return err == nil, err
}

// otherPasswords returns those of the logins whose password the server does not
// have, and whether it is a replica.
func otherPasswords(ctx context.Context, conn *pgx.Conn, l state.Logins) (others []state.Credentials, replica bool, err error) {
	for _, login := range []state.Credentials{l.Superuser, l.Replication, l.Admin} {
		var verifier string
		err := conn.QueryRow(ctx, "SELECT coalesce(rolpassword, ''), pg_is_in_recovery() FROM pg_authid WHERE rolname = $1", login.Username).Scan(&verifier, &replica)
		if err != nil {
			return nil, false, fmt.Errorf("role %q: %w", login.Username, err)
		}
		if !verifies(verifier, login.Password.Reveal()) {
			others = append(others, login)
		}
	}
	return others, replica, nil
}

// alterAll gives roles their passwords.
func alterAll(ctx context.Context, tx pgx.Tx, logins []state.Credentials) error {
	for _, login := range logins {
		verifier, err := SCRAMVerifier(login.Password.Reveal())
		if err != nil {
			return fmt.Errorf("role %q: %w", login.Username, err)
		}
		if _, err := tx.Exec(ctx, "ALTER ROLE "+pgx.Identifier{login.Username}.Sanitize()+" PASSWORD '"+verifier+"'"); err != nil {
			return fmt.Errorf("role %q: %w", login.Username, err)
		}
	}
	return nil
}

// localServer is the node's own PostgreSQL, by its socket, where it knows the
// superuser by the process that asks.
func localServer(sockets string, login state.Credentials) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig("host=localhost port=5432 user=postgres password=none dbname=postgres sslmode=disable")
	if err != nil {
		return nil, err
	}
	cfg.Host, cfg.Port = sockets, PostgreSQLPort
	cfg.User, cfg.Password = login.Username, login.Password.Reveal()
	cfg.RuntimeParams = map[string]string{
		"application_name": "patroni-node", "search_path": "pg_catalog", "log_statement": "none", "log_min_error_statement": "panic",
	}
	return cfg, nil
}
