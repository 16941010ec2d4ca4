package postgres

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

// ChangeExtensions creates the wanted extensions and drops the superfluous ones,
// all or none. They belong to the instance's owner role, so that applications
// may update them. What uses an extension keeps it from being dropped.
func (s Server) ChangeExtensions(ctx context.Context, c state.Cluster, wanted, superfluous []string) error {
	statements := []string{"SET LOCAL ROLE " + pgx.Identifier{c.AppCredentials.Username}.Sanitize()}
	for _, name := range wanted {
		statements = append(statements, fmt.Sprintf("CREATE EXTENSION IF NOT EXISTS %s WITH SCHEMA public", pgx.Identifier{name}.Sanitize()))
	}
	statements = append(statements, "RESET ROLE")
	for _, name := range superfluous {
		statements = append(statements, "DROP EXTENSION IF EXISTS "+pgx.Identifier{name}.Sanitize())
	}
	return s.session(ctx, c, func(ctx context.Context, conn *pgx.Conn) error {
		return lasting(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return execAll(ctx, tx, statements...) }))
	})
}

// passing are the classes of SQLSTATE that say that another time may be better:
// no connection, a transaction's bad luck, a read-only server, no resources,
// an operator or a shutdown, or the system itself.
var passing = []string{"08", "25", "40", "53", "55", "57", "58030", "XX"}

// Refusal says why PostgreSQL will refuse something every time.
type Refusal struct{ Reason string }

func (r Refusal) Error() string { return r.Reason }

// lasting makes a Refusal of what PostgreSQL will refuse every time.
func lasting(err error) error {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || slices.ContainsFunc(passing, func(class string) bool { return strings.HasPrefix(refused.Code, class) }) {
		return err
	}
	why := refused.Message
	if refused.Detail != "" {
		why += " (" + refused.Detail + ")"
	}
	return Refusal{Reason: why}
}
