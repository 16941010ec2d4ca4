package broker

import (
	"context"
	"net/http"
	"strings"

	"github.com/pivotal-cf/brokerapi/v10/domain"
	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"

	"github.com/pgpatron/pgpatron/state"
)

// GetInstance returns what the platform ordered.
func (b *Broker) GetInstance(ctx context.Context, instanceID string, _ domain.FetchInstanceDetails) (domain.GetInstanceDetailsSpec, error) {
	in, exists, err := b.instance(ctx, instanceID)
	switch {
	case err != nil:
		return domain.GetInstanceDetailsSpec{}, b.translate(ctx, "fetching the instance", err)
	case !exists || in.Operation.Type == state.Provision && in.Operation.State != state.Succeeded:
		return domain.GetInstanceDetailsSpec{}, answer(http.StatusNotFound, "", "instance does not exist, or is not ready")
	case in.Operation.Running():
		return domain.GetInstanceDetailsSpec{}, errConcurrency
	}
	return domain.GetInstanceDetailsSpec{ServiceID: in.ServiceID, PlanID: in.PlanID, Parameters: parametersOf(in.Parameters)}, nil
}

// LastOperation tells how far an operation is, in its journal's words.
func (b *Broker) LastOperation(ctx context.Context, instanceID string, details domain.PollDetails) (domain.LastOperation, error) {
	in, exists, err := b.instance(ctx, instanceID)
	switch {
	case err != nil:
		return domain.LastOperation{}, b.translate(ctx, "fetching the last operation", err)
	case !exists && strings.HasPrefix(details.OperationData, string(state.Deprovision)+"-"):
		return domain.LastOperation{}, apiresponses.ErrInstanceDoesNotExist
	case !exists:
		return domain.LastOperation{}, answer(http.StatusNotFound, "", "instance does not exist")
	}
	if in.Operation.Running() {
		setHeader(ctx, "Retry-After", "2")
	}
	return domain.LastOperation{
		State:       domain.LastOperationState(in.Operation.State),
		Description: in.Operation.Description,
	}, nil
}

// instance reads an instance's record as etcd has it now.
func (b *Broker) instance(ctx context.Context, segment string) (state.Instance, bool, error) {
	var in state.Instance
	var exists bool
	id, err := parseID("instance_id", segment)
	if err != nil {
		return in, false, err
	}
	err = b.read(ctx, func(tx *state.Tx) (err error) {
		in, exists, err = state.Load(tx, state.InstanceKey(id), state.JSON[state.Instance])
		return err
	})
	return in, exists, err
}

// parametersOf returns parameters as the API shows them: never absent.
func parametersOf(raw []byte) any {
	if given, err := parseObject(raw); err == nil && given != nil {
		return given
	}
	return map[string]any{}
}
