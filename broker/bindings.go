package broker

import (
	"context"
	"net/http"

	"github.com/pivotal-cf/brokerapi/v10/domain"

	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/state"
)

// GetBinding returns a binding with its credentials.
func (b *Broker) GetBinding(ctx context.Context, instanceID, bindingID string, _ domain.FetchBindingDetails) (domain.GetBindingSpec, error) {
	spec, err := b.getBinding(ctx, instanceID, bindingID)
	return spec, b.translate(ctx, "fetching the binding", err)
}

func (b *Broker) getBinding(ctx context.Context, instanceID, bindingID string) (domain.GetBindingSpec, error) {
	var spec domain.GetBindingSpec
	found, exists, err := b.binding(ctx, instanceID, bindingID)
	switch {
	case err != nil:
		return spec, err
	case exists && (found.State == state.BindingExpiring || found.State == state.BindingExpired):
		return spec, osb.Answer(http.StatusNotFound, "", "binding %q expired at %s", found.BindingID, moment(found.Expires))
	case !exists || found.State != state.BindingReady:
		return spec, osb.Answer(http.StatusNotFound, "", "binding does not exist, or is not ready")
	}
	spec.Parameters = parametersOf(found.Parameters)
	spec.Credentials, err = b.tell(ctx, found)
	return spec, err
}

// binding reads a binding's record as etcd has it now.
func (b *Broker) binding(ctx context.Context, instanceSegment, bindingSegment string) (state.Binding, bool, error) {
	id, bid, err := osb.ParseIDs(instanceSegment, bindingSegment)
	if err != nil {
		return state.Binding{}, false, err
	}
	return readOne[state.Binding](ctx, b, state.BindingKey(id, bid))
}
