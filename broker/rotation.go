package broker

import (
	"net/http"

	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/state"
)

// succeed makes wanted the successor of the binding that it names, if it names
// one: of the same application, with the same parameters, and a login and a
// lifetime of its own. The predecessor goes on until it is unbound.
func (b *Broker) succeed(tx *state.Tx, wanted state.Binding) (state.Binding, error) {
	if wanted.Predecessor == "" {
		return wanted, nil
	}
	old, exists, err := state.Load(tx, state.BindingKey(wanted.InstanceID, wanted.Predecessor), state.JSON[state.Binding])
	switch {
	case err != nil:
		return wanted, err
	case !exists:
		return wanted, osb.Answer(http.StatusNotFound, "", "predecessor_binding_id: instance %q has no binding %q", wanted.InstanceID, wanted.Predecessor)
	case !old.State.AtRest():
		return wanted, osb.ErrConcurrency
	case !takesOver(wanted, old):
		return wanted, osb.BadRequest("predecessor_binding_id: app_guid and parameters are those of binding %q: leave them out", old.BindingID)
	}
	wanted.AppGUID, wanted.Parameters = old.AppGUID, old.Parameters
	params, err := b.cfg.bindLimits().Parse(old.Parameters)
	apply(params, &wanted)
	return wanted, err
}

// takesOver reports whether what a request says of a binding, if it says
// anything, is as it is there: so are the fields of a successor.
func takesOver(wanted, there state.Binding) bool {
	return (wanted.AppGUID == "" || wanted.AppGUID == there.AppGUID) &&
		(sameJSON(wanted.Parameters, nil) || sameJSON(wanted.Parameters, there.Parameters))
}
