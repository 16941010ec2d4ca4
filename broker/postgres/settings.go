package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/pgpatron/pgpatron/state"
)

// Settings returns what these settings are on the node at addr.
func (Server) Settings(ctx context.Context, c state.Cluster, addr string, names []string) (map[string]string, error) {
	found := map[string]string{}
	err := sessionOn(ctx, c, addr, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY($1)", names)
		if err != nil {
			return err
		}
		var name, value string
		_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
			found[name] = value
			return nil
		})
		return err
	})
	return found, err
}
