package broker

import (
	"context"

	"github.com/pivotal-cf/brokerapi/v10/domain"
	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"

	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/state"
)

// Unbind records that a binding is to go and waits until its login is gone, or,
// if that takes long and the platform allows it, has it poll.
func (b *Broker) Unbind(ctx context.Context, instanceID, bindingID string, details domain.UnbindDetails, asyncAllowed bool) (domain.UnbindSpec, error) {
	spec, err := b.unbind(ctx, instanceID, bindingID, details, asyncAllowed)
	return spec, b.translate(ctx, "unbind", err)
}

func (b *Broker) unbind(ctx context.Context, instanceSegment, bindingSegment string, details domain.UnbindDetails, asyncAllowed bool) (domain.UnbindSpec, error) {
	var spec domain.UnbindSpec
	id, bid, err := osb.ParseIDs(instanceSegment, bindingSegment)
	if err != nil {
		return spec, err
	}
	var found state.Binding
	err = b.decide(ctx, "unbind", func(tx *state.Tx) error {
		found, err = boundOn(tx, id, bid, details)
		if err != nil {
			return err
		}
		found.State = state.BindingDeleting
		tx.PutJSON(state.BindingKey(id, bid), found)
		return nil
	})
	if err != nil {
		return spec, err
	}
	spec.IsAsync, err = b.waitForLogin(ctx, asyncAllowed, func() bool {
		now, exists := b.tables.bindings.Get(id, bid)
		return !exists || now.Value.Role != found.Role
	})
	if spec.IsAsync {
		spec.OperationData = unbindOperation + found.Role
	}
	return spec, err
}

// boundOn reads the binding that a request to unbind means. The request names
// the plan that the instance has now, or had when it was bound.
func boundOn(tx *state.Tx, id, bid string, details domain.UnbindDetails) (state.Binding, error) {
	in, _, err := state.Load(tx, state.InstanceKey(id), state.JSON[state.Instance])
	if err == nil {
		err = here(in)
	}
	if err != nil {
		return state.Binding{}, err
	}
	found, exists, err := state.Load(tx, state.BindingKey(id, bid), state.JSON[state.Binding])
	switch {
	case err != nil:
		return found, err
	case !exists:
		return found, apiresponses.ErrBindingDoesNotExist
	case found.ServiceID != details.ServiceID, found.PlanID != details.PlanID && in.PlanID != details.PlanID:
		return found, osb.BadRequest("service_id, plan_id: binding %q is of another service or plan", bid)
	case in.Operation.Type == state.Deprovision && in.Operation.Running():
		return found, osb.ErrConcurrency // it goes with its instance
	}
	return found, nil
}
