package state

import "time"

// Fence is the record of a node that was killed because it was alive and
// dangerous.
type Fence struct {
	Node    string `json:"node_id"`
	Backend string `json:"backend_id"`
	// Cause is the kind of danger, Evidence what was seen of it.
	Cause    string    `json:"cause"`
	Evidence string    `json:"evidence"`
	At       time.Time `json:"at"`
}
