package postgres

import (
	"context"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/pgpatron/pgpatron/state"
)

// Settings returns what these settings are on the node at addr.
func (Server) Settings(ctx context.Context, c state.Cluster, addr string, names []string) (map[string]string, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	err = sessionAt(ctx, c, host, uint16(port), func(ctx context.Context, conn *pgx.Conn) error {
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
