package broker

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/pivotal-cf/brokerapi/v10/domain"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/state"
)

// Bind records a binding and waits until its login works, or, if that takes long
// and the platform allows it, has it poll.
func (b *Broker) Bind(ctx context.Context, instanceID, bindingID string, details domain.BindDetails, asyncAllowed bool) (domain.Binding, error) {
	spec, err := b.bind(ctx, instanceID, bindingID, details, asyncAllowed)
	return spec, b.translate(ctx, "bind", err)
}

func (b *Broker) bind(ctx context.Context, instanceSegment, bindingSegment string, details domain.BindDetails, asyncAllowed bool) (domain.Binding, error) {
	var spec domain.Binding
	id, bid, err := osb.ParseIDs(instanceSegment, bindingSegment)
	if err != nil {
		return spec, err
	}
	params, err := b.cfg.bindLimits().Parse(details.RawParameters)
	if err != nil {
		return spec, err
	}
	wanted := b.newBinding(id, bid, details, params)
	wanted.Predecessor = osb.PredecessorOf(ctx)
	found, exists, err := b.recordWanted(ctx, wanted)
	if err != nil {
		return spec, err
	}
	spec.IsAsync, err = b.awaitBinding(ctx, found, asyncAllowed)
	if err != nil {
		return spec, err
	}
	if spec.IsAsync {
		spec.OperationData = bindOperation + found.Role
		return spec, nil
	}
	spec.AlreadyExists = exists && found.State == state.BindingReady
	spec.Credentials, err = b.tell(ctx, found)
	return spec, err
}

// newBinding makes the record of a binding whose login is still to be made.
func (b *Broker) newBinding(id, bid string, details domain.BindDetails, params catalog.BindParameters) state.Binding {
	app := details.AppGUID
	if app == "" && details.BindResource != nil {
		app = details.BindResource.AppGuid
	}
	sealed, by := b.cfg.Seal.Seal(state.Secret(rand.Text()), state.BindingKey(id, bid))
	binding := state.Binding{
		Version: state.RecordVersion, BindingID: bid, InstanceID: id,
		ServiceID: details.ServiceID, PlanID: details.PlanID, AppGUID: app,
		Parameters: details.RawParameters, Context: details.RawContext,
		Role: "binding_" + strings.ToLower(rand.Text()), Sealed: sealed, SealedBy: by,
		State: state.BindingCreating, Created: time.Now().UTC().Truncate(time.Second),
	}
	apply(params, &binding)
	return binding
}

// apply makes a new binding as the parameters ask.
func apply(p catalog.BindParameters, b *state.Binding) {
	b.ReadOnly = p.ReadOnly
	if p.Lifetime > 0 {
		b.Expires = b.Created.Add(p.Lifetime)
	}
}

// recordWanted records a binding, if there is none of its id, and returns the
// one that is recorded then. It must be the same.
func (b *Broker) recordWanted(ctx context.Context, wanted state.Binding) (found state.Binding, exists bool, err error) {
	err = b.decide(ctx, "bind", func(tx *state.Tx) error {
		in, err := bindable(tx, wanted)
		if err != nil {
			return err
		}
		key := state.BindingKey(wanted.InstanceID, wanted.BindingID)
		found, exists, err = state.Load(tx, key, state.JSON[state.Binding])
		if err != nil {
			return err
		}
		if exists {
			return sameBinding(found, wanted, in.PlanID)
		}
		if err := usable(in, wanted); err != nil {
			return err
		}
		if found, err = b.succeed(tx, wanted); err == nil {
			tx.PutJSON(key, found)
		}
		return err
	})
	return found, exists, err
}

// bindable reads the instance that a binding is of.
func bindable(tx *state.Tx, wanted state.Binding) (state.Instance, error) {
	in, exists, err := state.Load(tx, state.InstanceKey(wanted.InstanceID), state.JSON[state.Instance])
	switch {
	case err != nil:
		return in, err
	case !exists:
		return in, osb.Answer(http.StatusNotFound, "", "instance %q does not exist", wanted.InstanceID)
	case in.Operation.Running() && in.Operation.Type == state.Deprovision:
		return in, osb.ErrConcurrency
	}
	return in, here(in)
}

// usable reports why no new binding can be made for an instance, if so. While its
// cluster gets other passwords it can: logins are made with either.
func usable(in state.Instance, wanted state.Binding) error {
	op := in.Operation
	switch {
	case in.ServiceID != wanted.ServiceID || in.PlanID != wanted.PlanID:
		return osb.BadRequest("instance %q is of another service or plan than the request says", in.InstanceID)
	case op.Running() && op.Type != state.Rotate:
		return osb.ErrConcurrency
	case unusable(op):
		return osb.BadRequest("instance %q is not usable: %s", in.InstanceID, op.Description)
	}
	return nil
}

// sameBinding reports why a request for wanted can not be answered with the
// binding that is there, if so. The instance may have another plan by now than
// when it was bound: planNow.
func sameBinding(found, wanted state.Binding, planNow string) error {
	same := found.AppGUID == wanted.AppGUID && sameJSON(found.Parameters, wanted.Parameters)
	if wanted.Predecessor != "" {
		same = takesOver(wanted, found)
	}
	switch {
	case !same, found.Predecessor != wanted.Predecessor, found.ServiceID != wanted.ServiceID,
		wanted.PlanID != found.PlanID && wanted.PlanID != planNow:
		return osb.Answer(http.StatusConflict, "", "binding %q exists with other attributes", wanted.BindingID)
	case found.State == state.BindingExpired:
		return osb.Answer(http.StatusConflict, "", "binding %q expired at %s: bind with another id", found.BindingID, moment(found.Expires))
	case found.State == state.BindingDeleting, found.State == state.BindingExpiring:
		return osb.ErrConcurrency
	}
	return nil
}

// awaitBinding waits until the elected broker has made the login.
func (b *Broker) awaitBinding(ctx context.Context, wanted state.Binding, asyncAllowed bool) (async bool, err error) {
	gone := false
	async, err = b.waitForLogin(ctx, asyncAllowed, func() bool {
		found, exists := b.tables.bindings.Get(wanted.InstanceID, wanted.BindingID)
		// Another role: it was deleted, and bound again.
		gone = !exists || found.Value.Role != wanted.Role || found.Value.State == state.BindingDeleting
		return gone || found.Value.State != state.BindingCreating
	})
	if err == nil && !async && gone {
		return false, osb.ErrConcurrency
	}
	return async, err
}
