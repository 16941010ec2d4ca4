package state

import "time"

// Drain is the record of a backend that is being emptied: its nodes are moved
// to others, each by an update of its instance.
type Drain struct {
	Version   int    `json:"version"`
	BackendID string `json:"backend_id"`
	// State is Failed if some nodes could not be moved.
	State   OperationState `json:"state"`
	Started time.Time      `json:"started"`
	Updated time.Time      `json:"updated"`
	// Moves names, by instance, the operation that moves its nodes.
	Moves map[string]string `json:"moves,omitempty"`
	// Problems tells, by instance, why its nodes stay.
	Problems map[string]string `json:"problems,omitempty"`
}
