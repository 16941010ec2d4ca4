package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/state"
)

// changeExtensions makes the step's extensions those of the database.
func (t turn) changeExtensions() outcome {
	superfluous := slices.DeleteFunc(slices.Clone(t.cluster.Extensions), func(name string) bool {
		return slices.Contains(t.step.Extensions, name)
	})
	done, err := t.ask("change extensions", func(ctx context.Context) error {
		return t.cfg.Database.ChangeExtensions(ctx, t.cluster, t.step.Extensions, superfluous)
	})
	if !done {
		return retrying("", err)
	}
	return outcome{passed: true, apply: func(_ *state.Tx, c *state.Cluster) error {
		c.Extensions = slices.Clone(t.step.Extensions)
		return nil
	}}
}

// ChangeExtensions creates the wanted extensions and drops the superfluous ones,
// all or none. They belong to the instance's owner role, so that applications
// may update them. What uses an extension keeps it from being dropped.
func (p Postgres) ChangeExtensions(ctx context.Context, c state.Cluster, wanted, superfluous []string) error {
	statements := []string{"SET LOCAL ROLE " + pgx.Identifier{c.AppCredentials.Username}.Sanitize()}
	for _, name := range wanted {
		statements = append(statements, fmt.Sprintf("CREATE EXTENSION IF NOT EXISTS %s WITH SCHEMA public", pgx.Identifier{name}.Sanitize()))
	}
	statements = append(statements, "RESET ROLE")
	for _, name := range superfluous {
		statements = append(statements, "DROP EXTENSION IF EXISTS "+pgx.Identifier{name}.Sanitize())
	}
	return p.session(ctx, c, func(ctx context.Context, conn *pgx.Conn) error {
		return lasting(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return execAll(ctx, tx, statements...) }))
	})
}

// passing are the classes of SQLSTATE that say that another time may be better:
// no connection, a transaction's bad luck, a read-only server, no resources,
// an operator or a shutdown, or the system itself.
var passing = []string{"08", "25", "40", "53", "55", "57", "58030", "XX"}

// lasting marks what PostgreSQL will refuse every time.
func lasting(err error) error {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || slices.ContainsFunc(passing, func(class string) bool { return strings.HasPrefix(refused.Code, class) }) {
		return err
	}
	why := refused.Message
	if refused.Detail != "" {
		why += " (" + refused.Detail + ")"
	}
	return lastingError{errors.New(why)}
}
