package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// CreateLogin makes the role, or brings one that is there to what it should be.
// The sessions of a role that may write act as the owner role from their first
// statement, so what they create belongs to all bindings alike. A role that can
// only read is a member of the reader role.
func (s Server) CreateLogin(ctx context.Context, c state.Cluster, login Login) error {
	return s.session(ctx, c, func(ctx context.Context, conn *pgx.Conn) error {
		if login.ReadOnly {
			if err := prepareReader(ctx, conn, c); err != nil {
				return fmt.Errorf("preparing the reader role: %w", err)
			}
		}
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return createLogin(ctx, tx, c, login) })
	})
}

func createLogin(ctx context.Context, tx pgx.Tx, c state.Cluster, login Login) error {
	verifier, err := patroni.SCRAMVerifier(login.Password.Reveal())
	if err != nil {
		return err
	}
	until := "infinity"
	if !login.Expires.IsZero() {
		until = login.Expires.UTC().Format(time.RFC3339)
	}
	role := pgx.Identifier{login.Username}.Sanitize()
	if err := ensureRole(ctx, tx, login.Username, fmt.Sprintf("LOGIN PASSWORD '%s' VALID UNTIL '%s'", verifier, until)); err != nil {
		return err
	}
	if login.ReadOnly {
		return execAll(ctx, tx,
			fmt.Sprintf("GRANT %s TO %s WITH INHERIT TRUE, SET FALSE", reader(c), role),
			// A courtesy: what keeps it from writing is that it has no right to.
			fmt.Sprintf("ALTER ROLE %s SET default_transaction_read_only = on", role),
		)
	}
	return execAll(ctx, tx,
		// Without INHERIT FALSE, rights that the role grants as itself could keep
		// it from being dropped.
		fmt.Sprintf("GRANT %s TO %s WITH INHERIT FALSE, SET TRUE", owner(c), role),
		fmt.Sprintf("ALTER ROLE %s SET role = %s", role, owner(c)),
	)
}

// prepareReader makes the role that can read what the owner role has, and gives
// it what is there now. The default rights come first and by themselves: what is
// made in between has them already.
func prepareReader(ctx context.Context, conn *pgx.Conn, c state.Cluster) error {
	if err := ensureRole(ctx, conn, readerName(c), "NOLOGIN"); err != nil {
		return err
	}
	byDefault := fmt.Sprintf("ALTER DEFAULT PRIVILEGES FOR ROLE %s GRANT ", owner(c))
	err := execAll(ctx, conn,
		byDefault+"USAGE ON SCHEMAS TO "+reader(c),
		byDefault+"SELECT ON TABLES TO "+reader(c),
		byDefault+"SELECT ON SEQUENCES TO "+reader(c),
	)
	if err != nil {
		return err
	}
	grants, err := missingGrants(ctx, conn, c)
	if err != nil {
		return err
	}
	return execAll(ctx, conn, grants...)
}

// missingGrants returns what gives the reader role the schemas and tables of the
// owner role that are there. One by one: of a schema's tables some may belong to
// an extension, and nobody but the superuser may grant those.
func missingGrants(ctx context.Context, conn *pgx.Conn, c state.Cluster) ([]string, error) {
	rows, err := conn.Query(ctx, `
		SELECT format('GRANT USAGE ON SCHEMA %I TO %s', nspname, $2::text) FROM pg_namespace
		WHERE nspowner = $1::regrole AND NOT has_schema_privilege($2::regrole, oid, 'USAGE')
		UNION ALL
		SELECT format('GRANT SELECT ON %s TO %s', oid::regclass, $2::text) FROM pg_class
		WHERE relowner = $1::regrole AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't'
			AND NOT has_table_privilege($2::regrole, oid, 'SELECT')`,
		owner(c), reader(c))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// DropLogin shuts the role out, ends its sessions, hands what it owns to the
// owner role, and drops it.
func (s Server) DropLogin(ctx context.Context, c state.Cluster, name string) error {
	role := pgx.Identifier{name}.Sanitize()
	return s.session(ctx, c, func(ctx context.Context, conn *pgx.Conn) error {
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
				fmt.Sprintf("REASSIGN OWNED BY %s TO %s", role, owner(c)),
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

// owner is the role that owns what applications create, as SQL spells it.
func owner(c state.Cluster) string { return pgx.Identifier{c.AppCredentials.Username}.Sanitize() }

// reader is the role that can read what the owner role owns, as SQL spells it.
func reader(c state.Cluster) string { return pgx.Identifier{readerName(c)}.Sanitize() }

func readerName(c state.Cluster) string { return c.AppCredentials.Username + "_reader" }

// querier is what a connection and a transaction have in common.
type querier interface {
	execer
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// ensureRole makes a role, or gives it its options again.
func ensureRole(ctx context.Context, on querier, name, options string) error {
	exists, err := roleExists(ctx, on, name)
	if err != nil {
		return err
	}
	verb := "CREATE"
	if exists {
		verb = "ALTER"
	}
	return execAll(ctx, on, fmt.Sprintf("%s ROLE %s %s", verb, pgx.Identifier{name}.Sanitize(), options))
}

func roleExists(ctx context.Context, on querier, name string) (bool, error) {
	var one int
	err := on.QueryRow(ctx, "SELECT 1 FROM pg_roles WHERE rolname = $1", name).Scan(&one)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
