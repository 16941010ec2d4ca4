package state

import (
	"strings"
	"time"
)

// Backend is a host that runs nodes, as its registrar registers it.
type Backend struct {
	ID       string `json:"id"`
	Hostname string `json:"hostname"`
	// Address is where the rest of the site reaches the host.
	Address string `json:"address"`
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
	// Labels are what its operator says of it.
	Labels map[string]string `json:"labels,omitempty"`
	// Capacity is what the host has, Use what of it is taken, by whomever. They
	// are zero until they were measured.
	Capacity Capacity `json:"capacity"`
	Use      Use      `json:"use"`
	// Full says that the disk is so full that clusters with nodes here are made
	// read-only.
	Full bool `json:"full,omitempty"`
}

// Capacity is what a host has. Its disk is the one of Docker's data.
type Capacity struct {
	CPUs     int `json:"cpus"`
	MemoryMB int `json:"memory_mb"`
	DiskMB   int `json:"disk_mb"`
}

// Use is what of a host's capacity is in use.
type Use struct {
	// CPUPercent is of all cores together, over about half a minute.
	CPUPercent int `json:"cpu_percent"`
	MemoryMB   int `json:"memory_mb"`
	DiskMB     int `json:"disk_mb"`
}

// Healthy reports whether the backend can be given nodes.
func (b Backend) Healthy() bool { return b.DockerVersion != "" && !b.Full }

// DiskPercent returns how full the disk is, 0 if nobody knows.
func (b Backend) DiskPercent() int {
	if b.Capacity.DiskMB == 0 {
		return 0
	}
	return 100 * b.Use.DiskMB / b.Capacity.DiskMB
}

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
	// Warning tells of what will end badly if nobody acts, in such words, too.
	Warning string `json:"warning,omitempty"`
}
