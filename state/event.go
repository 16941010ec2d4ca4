package state

import (
	"crypto/rand"
	"fmt"
	"time"
)

// EventKind is what an Event is about.
type EventKind string

// The kinds of events.
const (
	// EventFailover: another node leads a cluster.
	EventFailover EventKind = "failover"
	// EventFence: a node was killed because it was alive and dangerous.
	EventFence EventKind = "fence"
	// EventSwitch: something was switched off, or on again.
	EventSwitch EventKind = "switch"
	// EventOperation: an operation began or ended.
	EventOperation EventKind = "operation"
)

// Event is one entry of a site's event log. Never a secret.
type Event struct {
	// ID makes the event's key. Ids sort as the events' times do.
	ID   string    `json:"id"`
	At   time.Time `json:"at"`
	Kind EventKind `json:"kind"`
	// Instance, Node, Backend and Router are what it is about, as far as they
	// apply.
	Instance string `json:"instance_id,omitempty"`
	Node     string `json:"node_id,omitempty"`
	Backend  string `json:"backend_id,omitempty"`
	Router   string `json:"router_id,omitempty"`
	// Text tells what happened, in words.
	Text string `json:"text"`
	// By and Reason are who wanted it and why, where that is known.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Stamped returns the event with its time and an id of its own.
func (e Event) Stamped(at time.Time) Event {
	e.At = at.UTC()
	e.ID = fmt.Sprintf("%s-%s", e.At.Format("20060102T150405.000000000"), rand.Text()[:6])
	return e
}

// Told is what the event log has been told of an instance. It changes in the
// transaction that writes the events, so that each is told once.
type Told struct {
	// Leader is who led, and Failover when that was last another than before.
	Leader   string    `json:"leader,omitempty"`
	Failover time.Time `json:"failover,omitzero"`
	// Fence is when a node was last killed.
	Fence time.Time `json:"fence,omitzero"`
	// Operation and State are the id and the state of the operation.
	Operation string         `json:"operation,omitempty"`
	State     OperationState `json:"state,omitempty"`
}
