package broker

import (
	"context"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

// Cordon keeps new nodes away from a backend, or lets them come again. It is a
// key that anybody may write: see state.CordonKey.
func (o operator) Cordon(ctx context.Context, id string, cordoned bool) (admin.Backend, error) {
	if _, err := o.Backend(ctx, id); err != nil {
		return admin.Backend{}, err
	}
	err := o.engine.Do(ctx, state.Group{Name: "cordon", Apply: func(tx *state.Tx) error {
		if cordoned {
			tx.Put(state.CordonKey(id), []byte(state.Disabled))
		} else {
			tx.Delete(state.CordonKey(id))
		}
		return nil
	}})
	if err != nil {
		return admin.Backend{}, err
	}
	return o.Backend(ctx, id)
}
