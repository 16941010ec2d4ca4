package state

import (
	"strings"
	"time"
)

// Backend is a host that runs nodes, as its registrar registers it.
type Backend struct {
	ID       string `json:"id"`
	Hostname string `json:"hostname"`
	// Zone names what the backend may fail together with. Empty: nothing is known.
	Zone string `json:"zone,omitempty"`
	// Region names what the zone is part of. Empty: nothing is known.
	Region string `json:"region,omitempty"`
	// URL is where the backend's registry is asked.
	URL string `json:"url,omitempty"`
	// PID is the registrar's process.
	PID int `json:"pid"`
	// DockerVersion is the version of the host's Docker Engine; empty while the
	// engine does not answer.
	DockerVersion string    `json:"docker_version"`
	Since         time.Time `json:"since"`
}

// Healthy reports whether the backend can be given nodes.
func (b Backend) Healthy() bool { return b.DockerVersion != "" }

// Disabled is the word by which an operator switches something off.
const Disabled = "DISABLED"

// IsDisabled reports whether the value of a switch says that it is off. Case and
// blanks around it do not matter; anything else is on.
func IsDisabled(value string) bool { return strings.EqualFold(strings.TrimSpace(value), Disabled) }

// Phase is how far a registrar is with one node.
type Phase string

// The phases of a node.
const (
	PhaseCreating Phase = "creating"
	PhaseRunning  Phase = "running"
	// PhaseStopped is a container that died and waits to be started again.
	PhaseStopped Phase = "stopped"
	// PhaseFailed is a node that can not be run as things are; Details says why.
	PhaseFailed Phase = "failed"
	// PhaseRemoved says that neither container nor volume is left.
	PhaseRemoved Phase = "removed"
)

// NodeStatus is what a registrar says of one of its nodes.
type NodeStatus struct {
	ID         string `json:"id"`
	InstanceID string `json:"instance_id"`
	BackendID  string `json:"backend_id"`
	Phase      Phase  `json:"phase"`
	// Spec is the Digest of what the container was made from, while there is one.
	Spec string `json:"spec,omitempty"`
	// Details tells why, in words for an operator. Never a secret.
	Details string `json:"details,omitempty"`
}
