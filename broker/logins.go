package broker

import (
	"context"
	"errors"

	"github.com/pgpatron/pgpatron/broker/postgres"
	"github.com/pgpatron/pgpatron/state"
)

// driveBinding makes a binding's login, or ends it.
func (d *driver) driveBinding(ctx context.Context, b state.Binding) []state.Group {
	cluster, ok := d.tables.clusters.Get(b.InstanceID)
	if !ok {
		return nil
	}
	key := state.BindingKey(b.InstanceID, b.BindingID)
	id := bindingJob(bindingID{b.InstanceID, b.BindingID})
	done, _ := d.jobs.ask(ctx, id, string(b.State)+" "+b.Role, func(ctx context.Context) error {
		// The admin's password may be another one by now than when the work began.
		d.view(func() {
			if now, ok := d.tables.clusters.Get(b.InstanceID); ok {
				cluster = now
			}
		})
		if b.State != state.BindingCreating {
			return d.cfg.Database.DropLogin(ctx, cluster.Value, b.Role)
		}
		password, err := d.cfg.Seal.Open(b.Sealed, b.SealedBy, key)
		if err != nil {
			return err
		}
		return d.cfg.Database.CreateLogin(ctx, cluster.Value, postgres.Login{
			Credentials: state.Credentials{Username: b.Role, Password: password},
			ReadOnly:    b.ReadOnly,
			Expires:     b.Expires,
		})
	})
	if !done {
		return nil
	}
	return d.recordBinding(b, key)
}

// recordBinding records that what a binding's state asks for is done.
func (d *driver) recordBinding(b state.Binding, key string) []state.Group {
	return []state.Group{{Name: "login is " + string(b.State), Apply: func(tx *state.Tx) error {
		if err := d.election.Guard(tx); err != nil {
			return errors.Join(state.ErrSkip, err)
		}
		now, exists, err := state.Load(tx, key, state.JSON[state.Binding])
		if err != nil {
			return err
		}
		if !exists || now.State != b.State || now.Role != b.Role {
			return state.ErrSkip
		}
		switch b.State {
		case state.BindingDeleting:
			tx.Delete(key)
			return nil
		case state.BindingExpiring:
			now.State = state.BindingExpired
		default:
			now.State = state.BindingReady
		}
		tx.PutJSON(key, now)
		return nil
	}}}
}
