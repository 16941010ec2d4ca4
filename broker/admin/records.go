package admin

import (
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// Instance is a service instance with its cluster.
type Instance struct {
	ID           string `json:"instance_id"`
	Plan         string `json:"plan"`
	PlanID       string `json:"plan_id"`
	Organization string `json:"organization_guid"`
	Space        string `json:"space_guid"`
	Port         int    `json:"port"`
	ReadOnlyPort int    `json:"readonly_port,omitempty"`
	Synchronous  bool   `json:"synchronous"`
	// MovedTo is the site that the instance has moved to, and its port leads to.
	MovedTo string `json:"moved_to,omitempty"`
	// Leader is the node that leads, empty while none does.
	Leader    string    `json:"leader"`
	Nodes     []Node    `json:"nodes"`
	Bindings  int       `json:"bindings"`
	Operation Operation `json:"operation"`
}

// Node is one member of a cluster.
type Node struct {
	ID      string `json:"node_id"`
	Backend string `json:"backend_id"`
	Zone    string `json:"zone,omitempty"`
	// Role and State are Patroni's words, empty while Patroni says nothing.
	Role  string `json:"role"`
	State string `json:"state"`
	// Streaming says that the node follows its leader.
	Streaming bool  `json:"streaming"`
	Timeline  int64 `json:"timeline,omitempty"`
	// Phase and Details are the registrar's words.
	Phase   string `json:"phase"`
	Details string `json:"details,omitempty"`
	// Leaving says that the node is being removed.
	Leaving bool `json:"leaving,omitempty"`
}

// Operation is what is, or was last, done to an instance.
type Operation struct {
	ID          string    `json:"id"`
	InstanceID  string    `json:"instance_id"`
	Type        string    `json:"type"`
	State       string    `json:"state"`
	Description string    `json:"description"`
	Started     time.Time `json:"started"`
	Updated     time.Time `json:"updated"`
	// Steps are those of an update, in order; Done counts the finished ones.
	Steps []Step `json:"steps,omitempty"`
	Done  int    `json:"done"`
}

// Step is one step of an operation.
type Step struct {
	Kind        string `json:"kind"`
	Node        string `json:"node_id,omitempty"`
	Backend     string `json:"backend_id,omitempty"`
	Description string `json:"description"`
}

// Backend is a host that runs nodes.
type Backend struct {
	ID       string `json:"backend_id"`
	Hostname string `json:"hostname,omitempty"`
	Zone     string `json:"zone,omitempty"`
	// Status says whether the backend can be used.
	Status state.BackendStatus `json:"status"`
	// LastSeen is when an unreachable backend was heard of last.
	LastSeen      time.Time `json:"last_seen,omitzero"`
	DockerVersion string    `json:"docker_version,omitempty"`
	// Cordoned says that no new nodes and no reads come here; Since, By and Reason
	// are of that.
	Cordoned bool      `json:"cordoned"`
	Since    time.Time `json:"cordoned_since,omitzero"`
	By       string    `json:"cordoned_by,omitempty"`
	Reason   string    `json:"cordoned_reason,omitempty"`
	// Nodes counts the nodes that are placed here, Leaders those that lead.
	Nodes   int `json:"nodes"`
	Leaders int `json:"leaders"`
	// Drain tells how far the last drain is, if there was one.
	Drain *Drain `json:"drain,omitempty"`
}

// Drain is the emptying of a backend.
type Drain struct {
	State   string    `json:"state"`
	Started time.Time `json:"started"`
	Updated time.Time `json:"updated"`
	// Left counts the nodes that are still there.
	Left int `json:"left"`
	// Problems tells, by instance, why its node could not be moved.
	Problems map[string]string `json:"problems,omitempty"`
}
