package broker

import (
	"context"
	"time"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

// Cordon keeps new nodes away from a backend, or lets them come again. It is a
// key that anybody may write: see state.CordonKey.
func (o operator) Cordon(ctx context.Context, id string, cordoned bool) (admin.Backend, error) {
	return o.alterBackend(ctx, id, func(tx *state.Tx) error {
		if cordoned {
			tx.Put(state.CordonKey(id), []byte(state.Disabled))
			return nil
		}
		tx.Delete(state.CordonKey(id))
		return stopDrain(tx, id)
	})
}

// Drain cordons a backend and has its nodes moved away.
func (o operator) Drain(ctx context.Context, id string) (admin.Backend, error) {
	return o.alterBackend(ctx, id, func(tx *state.Tx) error {
		tx.Put(state.CordonKey(id), []byte(state.Disabled))
		before, exists, err := state.Load(tx, state.DrainKey(id), state.JSON[state.Drain])
		if err != nil || exists && before.State == state.InProgress {
			return err
		}
		now := time.Now().UTC()
		tx.PutJSON(state.DrainKey(id), state.Drain{
			Version: state.RecordVersion, BackendID: id, State: state.InProgress, Started: now, Updated: now,
		})
		return nil
	})
}

// stopDrain ends the drain of a backend that is to be used again.
func stopDrain(tx *state.Tx, id string) error {
	dr, exists, err := state.Load(tx, state.DrainKey(id), state.JSON[state.Drain])
	if err != nil || !exists || dr.State != state.InProgress {
		return err
	}
	dr.State, dr.Updated = state.Failed, time.Now().UTC()
	tx.PutJSON(state.DrainKey(id), dr)
	return nil
}

// alterBackend changes what is recorded of a backend that must be known.
func (o operator) alterBackend(ctx context.Context, id string, change func(tx *state.Tx) error) (admin.Backend, error) {
	if _, err := o.Backend(ctx, id); err != nil {
		return admin.Backend{}, err
	}
	if err := o.engine.Do(ctx, state.Group{Name: "change backend", Apply: change}); err != nil {
		return admin.Backend{}, err
	}
	return o.Backend(ctx, id)
}
