package broker

import (
	"context"
	"time"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

// Cordon keeps new nodes away from a backend, or lets them come again. It is a
// key that anybody may write: see state.CordonKey.
func (o operator) Cordon(ctx context.Context, id string, cordoned bool, act admin.Act) (admin.Backend, error) {
	cordon := cordoning(id, cordoned, act)
	return o.alterBackend(ctx, id, func(tx *state.Tx) error {
		cordon(tx)
		if cordoned {
			return nil
		}
		return stopDrain(tx, id)
	})
}

// cordoning returns what throws the switch of a backend, if it is not already
// where it should be.
func cordoning(id string, off bool, act admin.Act) func(tx *state.Tx) {
	sw := state.Switch{Kind: state.BackendSwitch, Name: id}
	noted := notice(sw, off, act, time.Now())
	return func(tx *state.Tx) {
		switch kv, _ := tx.Get(sw.Key()); {
		case state.IsDisabled(string(kv.Value)) == off:
			return
		case off:
			tx.Put(sw.Key(), position(off))
		default:
			tx.Delete(sw.Key())
		}
		noted(tx)
	}
}

// Drain cordons a backend and has its nodes moved away.
func (o operator) Drain(ctx context.Context, id string, act admin.Act) (admin.Backend, error) {
	cordon := cordoning(id, true, act)
	return o.alterBackend(ctx, id, func(tx *state.Tx) error {
		cordon(tx)
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
	if err := o.engine.Do(ctx, state.Group{Name: "change backend", Apply: o.tables.format.Admitted(change)}); err != nil {
		return admin.Backend{}, err
	}
	return o.Backend(ctx, id)
}
