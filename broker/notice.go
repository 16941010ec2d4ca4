package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

// throw commits what apply does to a switch, with who did it and why, or returns
// apply's refusal, which etcd has confirmed.
func (o operator) throw(ctx context.Context, sw state.Switch, off bool, act admin.Act, apply func(tx *state.Tx) error) error {
	noted := notice(sw, off, act, time.Now())
	return o.confirm(ctx, "throw switch", isConflict, func(tx *state.Tx) error {
		if err := apply(tx); err != nil {
			return err
		}
		noted(tx)
		return nil
	})
}

// notice returns what notes, in the transaction that throws a switch or finds it
// thrown, who did it, when and why, and tells the event log.
func notice(sw state.Switch, off bool, act admin.Act, at time.Time) func(tx *state.Tx) {
	verb := "enabled"
	if off {
		verb = "disabled"
	}
	event := state.Event{Kind: state.EventSwitch, By: act.By, Reason: act.Reason, Text: fmt.Sprintf("%s %s %s", sw.Kind, sw.Name, verb)}
	switch sw.Kind {
	case state.RouterSwitch:
		event.Router = sw.Name
	case state.ReplicaSwitch:
		event.Instance, event.Node = sw.Replica()
		event.Text = fmt.Sprintf("replica %s %s", event.Node, verb)
	case state.BackendSwitch:
		event.Backend = sw.Name
	}
	event = event.Stamped(at)
	return func(tx *state.Tx) {
		if off {
			tx.PutJSON(state.SwitchedKey(sw), state.Switched{At: event.At, By: act.By, Reason: act.Reason})
		} else {
			tx.Delete(state.SwitchedKey(sw))
		}
		tx.PutJSON(state.EventKey(event.ID), event)
	}
}
