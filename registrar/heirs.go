package registrar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// heirs are who leads a cluster, "" if nobody does, and who follows it
// synchronously.
type heirs struct {
	leader string
	sync   patroni.Sync
}

// heirs returns what etcd has now, not what this registrar has seen so far.
func (r *Registrar) heirs(ctx context.Context, instance string) (h heirs, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = r.engine.Do(ctx, state.Group{Name: "confirm heirs", Apply: func(tx *state.Tx) error {
		var errLeader, errSync error
		h.leader, _, errLeader = state.Load(tx, state.LeaderKey(instance), state.Text)
		h.sync, _, errSync = state.Load(tx, state.SyncKey(instance), state.JSON[patroni.Sync])
		return errors.Join(errLeader, errSync)
	}})
	if err != nil {
		return h, fmt.Errorf("asking who else can lead: %w", err)
	}
	return h, nil
}
