package broker

import (
	"context"

	"github.com/pgpatron/pgpatron/broker/postgres"
	"github.com/pgpatron/pgpatron/state"
)

// Database does what the broker needs done inside an instance. Each call may
// be repeated, whatever became of the last one. A postgres.Refusal is an error
// that no repetition mends.
type Database interface {
	// ProveWrite writes through the instance's public port.
	ProveWrite(ctx context.Context, c state.Cluster) error
	// CreateLogin makes a role that can log in: one that shares everything with
	// the instance's other bindings, or one that can only read.
	CreateLogin(ctx context.Context, c state.Cluster, login postgres.Login) error
	// DropLogin ends the role's sessions and removes it; what it made stays.
	DropLogin(ctx context.Context, c state.Cluster, role string) error
	// ChangeExtensions creates the wanted extensions and drops the superfluous.
	ChangeExtensions(ctx context.Context, c state.Cluster, wanted, superfluous []string) error
	// Fence ends all writing on the leader at addr and returns a position in the WAL
	// behind every commit that anybody was told of. Unfence lets everybody in again.
	Fence(ctx context.Context, c state.Cluster, addr string) (lsn int64, err error)
	Unfence(ctx context.Context, c state.Cluster, addr string) error
	// Settings returns what these settings are on the node at host:port.
	Settings(ctx context.Context, c state.Cluster, addr string, names []string) (map[string]string, error)
}
