package broker

import (
	"fmt"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// The events of instances, in words.

// deprovisioned is told of an instance that is gone, if nobody has said more.
const deprovisioned = string(state.Deprovision) + " succeeded"

// tellGone tells the event log that an instance is gone, and why, in the
// transaction in which it goes: nothing that names it is left then but the log.
func tellGone(tx *state.Tx, id, text string) {
	gone := goneEvent(id, text, time.Now())
	tx.PutJSON(state.EventKey(gone.ID), gone)
	tx.Delete(state.ToldKey(id))
}

func goneEvent(id, text string, now time.Time) state.Event {
	return state.Event{Kind: state.EventOperation, Instance: id, Text: text}.Stamped(now)
}

func operationEvent(id string, op state.Operation) state.Event {
	e := state.Event{Kind: state.EventOperation, Instance: id}
	switch op.State {
	case state.InProgress:
		e.Text = string(op.Type) + " begins"
		return e.Stamped(op.Started)
	case state.Failed:
		e.Text = fmt.Sprintf("%s failed: %s", op.Type, op.Description)
	default:
		e.Text = fmt.Sprintf("%s %s", op.Type, op.State)
	}
	return e.Stamped(op.Updated)
}

func (c *chronicle) failoverEvent(id, before, now string) state.Event {
	cluster, _ := c.tables.clusters.Get(id)
	where := func(node string) string {
		if n, there := cluster.Value.Node(node); there {
			return node + " on " + n.BackendID
		}
		return node
	}
	n, _ := cluster.Value.Node(now)
	return state.Event{
		Kind: state.EventFailover, Instance: id, Node: now, Backend: n.BackendID,
		Text: fmt.Sprintf("%s leads, after %s", where(now), where(before)),
	}
}

func fenceEvent(id string, f state.Fence) state.Event {
	return state.Event{
		Kind: state.EventFence, Instance: id, Node: f.Node, Backend: f.Backend,
		Text: fmt.Sprintf("%s on %s was killed: %s: %s", f.Node, f.Backend, f.Cause, f.Evidence),
	}.Stamped(f.At)
}
