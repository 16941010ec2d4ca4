package registry

import (
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// Node is a host that runs instances.
type Node struct {
	ID string `json:"id"`
	// URL is where its registry is asked.
	URL              string `json:"url"`
	AvailabilityZone string `json:"availabilityZone,omitempty"`
	Region           string `json:"region,omitempty"`
	Hostname         string `json:"hostname,omitempty"`
	// Labels are what its operator says of it.
	Labels map[string]string `json:"labels,omitempty"`
	Usage  Usage             `json:"usage"`
	// LastHeartbeat is the last sign of life.
	LastHeartbeat time.Time  `json:"lastHeartbeat,omitzero"`
	Status        NodeStatus `json:"status"`
	// Cordoned says that an operator wants no new instances there.
	Cordoned bool `json:"cordoned"`
}

// NodeStatus is how a node is.
type NodeStatus string

// The statuses of nodes.
const (
	// NodeHealthy can be given instances.
	NodeHealthy = NodeStatus(state.BackendHealthy)
	// NodeDegraded has a registrar, but can be given no instances: its Docker
	// Engine does not answer, or its disk is full.
	NodeDegraded = NodeStatus(state.BackendDegraded)
	// NodeUnreachable has gone silent.
	NodeUnreachable = NodeStatus(state.BackendUnreachable)
)

// Usage is what a node has, and how much of it is used.
type Usage struct {
	CPU    Amount `json:"cpu"`
	Memory Amount `json:"memory"`
	Disk   Amount `json:"disk"`
}

// Amount is one resource: bytes, or thousandths of a core.
type Amount struct {
	Used    int64   `json:"used"`
	Total   int64   `json:"total"`
	Percent float64 `json:"percent"`
}

// newAmount returns the amount with its percentage, to a tenth.
func newAmount(used, total int64) Amount {
	a := Amount{Used: used, Total: total}
	if total > 0 {
		a.Percent = float64(used*1000/total) / 10
	}
	return a
}
