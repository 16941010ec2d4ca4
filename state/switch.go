package state

import (
	"strings"
	"time"
)

// SwitchKind is the kind of what an operator switches off.
type SwitchKind string

// The kinds of switches.
const (
	// RouterSwitch breaks the circuit of a router.
	RouterSwitch SwitchKind = "router"
	// ReplicaSwitch takes a node out of read routing.
	ReplicaSwitch SwitchKind = "replica"
	// BackendSwitch keeps new nodes, and reads, off a backend.
	BackendSwitch SwitchKind = "backend"
)

// Switch is one of the operators' switches.
type Switch struct {
	Kind SwitchKind
	// Name is a router's, ip@-@pid; a replica's, instance.node; or a backend's id.
	Name string
}

// ReplicaSwitchOf returns the switch of one node of an instance.
func ReplicaSwitchOf(id, node string) Switch {
	return Switch{Kind: ReplicaSwitch, Name: id + "." + node}
}

// Replica returns the instance and the node of a replica's switch; both are empty
// if the name is not one of those. An instance's id may have dots, a node's has
// none.
func (s Switch) Replica() (id, node string) {
	i := strings.LastIndexByte(s.Name, '.')
	if s.Kind != ReplicaSwitch || i < 1 {
		return "", ""
	}
	return s.Name[:i], s.Name[i+1:]
}

// Key is where the switch's value stands, which anybody may write: see
// IsDisabled.
func (s Switch) Key() string {
	switch s.Kind {
	case RouterSwitch:
		return fill(RouterPattern, s.Name)
	case ReplicaSwitch:
		return fill(DatasourcePattern, s.Name)
	}
	return CordonKey(s.Name)
}

// Switched is what is known of a switch that is off. There is one exactly as
// long as it is; a broker sees to that where the switch is written by hand.
type Switched struct {
	At time.Time `json:"at"`
	// By and Reason are empty where the switch was written by hand.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}
