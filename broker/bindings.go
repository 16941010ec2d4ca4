package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/pivotal-cf/brokerapi/v10/domain"
	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"

	"github.com/pgpatron/pgpatron/state"
)

// Bind records a binding and waits until its login works.
func (b *Broker) Bind(ctx context.Context, instanceID, bindingID string, details domain.BindDetails, _ bool) (domain.Binding, error) {
	spec, err := b.bind(ctx, instanceID, bindingID, details)
	return spec, b.translate(ctx, "bind", err)
}

func (b *Broker) bind(ctx context.Context, instanceSegment, bindingSegment string, details domain.BindDetails) (domain.Binding, error) {
	id, bid, err := parseIDs(instanceSegment, bindingSegment)
	if err != nil {
		return domain.Binding{}, err
	}
	if err := refuseParameters(details.RawParameters); err != nil {
		return domain.Binding{}, err
	}
	wanted, err := b.newBinding(id, bid, details)
	if err != nil {
		return domain.Binding{}, err
	}
	found, exists, err := b.recordWanted(ctx, wanted)
	if err != nil {
		return domain.Binding{}, err
	}
	if err := b.awaitBinding(ctx, id, bid); err != nil {
		return domain.Binding{}, err
	}
	creds, err := b.credentials(ctx, found)
	return domain.Binding{AlreadyExists: exists && found.State == state.BindingReady, Credentials: creds}, err
}

// recordWanted records a binding, if there is none of its id, and returns the
// one that is recorded then. It must be the same.
func (b *Broker) recordWanted(ctx context.Context, wanted state.Binding) (found state.Binding, exists bool, err error) {
	key := state.BindingKey(wanted.InstanceID, wanted.BindingID)
	err = b.engine.Do(ctx, state.Group{Name: "bind", Apply: func(tx *state.Tx) (err error) {
		if err := usable(tx, wanted.InstanceID, wanted.ServiceID, wanted.PlanID); err != nil {
			return err
		}
		found, exists, err = state.Load(tx, key, state.JSON[state.Binding])
		if err == nil && !exists {
			found = wanted
			tx.PutJSON(key, wanted)
		}
		return err
	}})
	switch {
	case err != nil:
		return found, exists, err
	case found.State == state.BindingDeleting:
		return found, exists, errConcurrency
	case !sameBinding(found, wanted):
		return found, exists, answer(http.StatusConflict, "", "binding %q exists with other attributes", wanted.BindingID)
	}
	return found, exists, nil
}

// usable reports why no binding can be made for an instance, if so.
func usable(tx *state.Tx, id, serviceID, planID string) error {
	in, exists, err := state.Load(tx, state.InstanceKey(id), state.JSON[state.Instance])
	switch {
	case err != nil:
		return err
	case !exists:
		return answer(http.StatusNotFound, "", "instance %q does not exist", id)
	case in.Operation.Running():
		return errConcurrency
	case in.Operation.State == state.Failed && in.Operation.Type != state.Update:
		return badRequest("instance %q is not usable: %s", id, in.Operation.Description)
	case in.ServiceID != serviceID || in.PlanID != planID:
		return badRequest("instance %q is of another service or plan than the request says", id)
	}
	return nil
}

func (b *Broker) newBinding(id, bid string, details domain.BindDetails) (state.Binding, error) {
	app := details.AppGUID
	if app == "" && details.BindResource != nil {
		app = details.BindResource.AppGuid
	}
	sealed, err := b.cfg.SealKey.seal(state.Secret(rand.Text()), state.BindingKey(id, bid))
	return state.Binding{
		Version: state.RecordVersion, BindingID: bid, InstanceID: id,
		ServiceID: details.ServiceID, PlanID: details.PlanID, AppGUID: app,
		Parameters: details.RawParameters, Context: details.RawContext,
		Role: "binding_" + strings.ToLower(rand.Text()), Sealed: sealed,
		State: state.BindingCreating, Created: time.Now().UTC(),
	}, err
}

func sameBinding(a, b state.Binding) bool {
	return a.ServiceID == b.ServiceID && a.PlanID == b.PlanID && a.AppGUID == b.AppGUID && sameJSON(a.Parameters, b.Parameters)
}

// awaitBinding waits until the elected broker has made the login.
func (b *Broker) awaitBinding(ctx context.Context, id, bid string) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.BindTimeout)
	defer cancel()
	gone := false
	err := b.engine.Await(ctx, func() bool {
		found, exists := b.tables.bindings.Get(id, bid)
		gone = !exists || found.Value.State == state.BindingDeleting
		return gone || found.Value.State == state.BindingReady
	})
	if err == nil && gone {
		return errConcurrency
	}
	return err
}

// GetBinding returns a binding with its credentials.
func (b *Broker) GetBinding(ctx context.Context, instanceID, bindingID string, _ domain.FetchBindingDetails) (domain.GetBindingSpec, error) {
	var spec domain.GetBindingSpec
	found, exists, err := b.binding(ctx, instanceID, bindingID)
	if err != nil {
		return spec, b.translate(ctx, "fetching the binding", err)
	}
	if !exists || found.State != state.BindingReady {
		return spec, answer(http.StatusNotFound, "", "binding does not exist, or is not ready")
	}
	spec.Parameters = parametersOf(found.Parameters)
	spec.Credentials, err = b.credentials(ctx, found)
	return spec, b.translate(ctx, "fetching the binding", err)
}

// LastBindingOperation answers for clients that poll: bindings are made and
// deleted while the request waits, so there is never one under way that a
// client was told of.
func (b *Broker) LastBindingOperation(ctx context.Context, instanceID, bindingID string, _ domain.PollDetails) (domain.LastOperation, error) {
	found, exists, err := b.binding(ctx, instanceID, bindingID)
	if err != nil {
		return domain.LastOperation{}, b.translate(ctx, "fetching the last operation", err)
	}
	if !exists {
		return domain.LastOperation{}, answer(http.StatusNotFound, "", "binding does not exist")
	}
	if found.State == state.BindingReady {
		return domain.LastOperation{State: domain.Succeeded}, nil
	}
	return domain.LastOperation{State: domain.InProgress, Description: "login is " + string(found.State)}, nil
}

func (b *Broker) binding(ctx context.Context, instanceSegment, bindingSegment string) (state.Binding, bool, error) {
	var found state.Binding
	var exists bool
	id, bid, err := parseIDs(instanceSegment, bindingSegment)
	if err != nil {
		return found, false, err
	}
	err = b.read(ctx, func(tx *state.Tx) (err error) {
		found, exists, err = state.Load(tx, state.BindingKey(id, bid), state.JSON[state.Binding])
		return err
	})
	return found, exists, err
}

// Unbind records that a binding is to go and waits until its login is gone.
func (b *Broker) Unbind(ctx context.Context, instanceID, bindingID string, details domain.UnbindDetails, _ bool) (domain.UnbindSpec, error) {
	return domain.UnbindSpec{}, b.translate(ctx, "unbind", b.unbind(ctx, instanceID, bindingID, details))
}

func (b *Broker) unbind(ctx context.Context, instanceSegment, bindingSegment string, details domain.UnbindDetails) error {
	id, bid, err := parseIDs(instanceSegment, bindingSegment)
	if err != nil {
		return err
	}
	err = b.engine.Do(ctx, state.Group{Name: "unbind", Apply: func(tx *state.Tx) error {
		found, exists, err := state.Load(tx, state.BindingKey(id, bid), state.JSON[state.Binding])
		if err != nil {
			return err
		}
		if !exists {
			return apiresponses.ErrBindingDoesNotExist
		}
		if found.ServiceID != details.ServiceID || found.PlanID != details.PlanID {
			return badRequest("binding %q is of another service or plan than the request says", bid)
		}
		found.State = state.BindingDeleting
		tx.PutJSON(state.BindingKey(id, bid), found)
		return nil
	}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.BindTimeout)
	defer cancel()
	return b.engine.Await(ctx, func() bool {
		_, exists := b.tables.bindings.Get(id, bid)
		return !exists
	})
}

func parseIDs(instanceSegment, bindingSegment string) (id, bid string, err error) {
	id, errID := parseID("instance_id", instanceSegment)
	bid, errBid := parseID("binding_id", bindingSegment)
	if errID != nil {
		return "", "", errID
	}
	return id, bid, errBid
}

// credentials are what an application is given.
func (b *Broker) credentials(ctx context.Context, binding state.Binding) (credentials, error) {
	password, err := b.cfg.SealKey.open(binding.Sealed, state.BindingKey(binding.InstanceID, binding.BindingID))
	if err != nil {
		return credentials{}, err
	}
	var cluster state.Cluster
	var exists bool
	err = b.read(ctx, func(tx *state.Tx) (err error) {
		cluster, exists, err = state.Load(tx, state.ClusterKey(binding.InstanceID), state.JSON[state.Cluster])
		return err
	})
	if err == nil && !exists {
		err = errors.New("instance has no cluster")
	}
	return newCredentials(b.cfg.RouterHost, cluster, binding.Role, password), err
}
