package state

import "fmt"

// Cluster is the record of the PostgreSQL servers that serve one instance. The
// JSON names up to Nodes are published: other tools read them. They may gain
// neighbours, never change.
type Cluster struct {
	InstanceID           string      `json:"instance_id"`
	ServiceID            string      `json:"service_id"`
	PlanID               string      `json:"plan_id"`
	OrganizationGUID     string      `json:"organization_guid"`
	SpaceGUID            string      `json:"space_guid"`
	AdminCredentials     Credentials `json:"admin_credentials"`
	SuperuserCredentials Credentials `json:"superuser_credentials"`
	AppCredentials       Credentials `json:"app_credentials"`
	AllocatedPort        int         `json:"allocated_port"`
	Nodes                []Node      `json:"nodes"`

	// Version is the RecordVersion of the program that made the record.
	Version int `json:"version"`
	// ReplicationCredentials are what a replica follows its leader with.
	ReplicationCredentials Credentials `json:"replication_credentials"`
	// RESTCredentials guard the unsafe methods of Patroni's REST API.
	RESTCredentials Credentials `json:"rest_credentials"`
	// Database is the name of the database that bindings log in to.
	Database string `json:"database"`
	// Synchronous says that the leader acknowledges a write only when a
	// standby has it.
	Synchronous bool `json:"synchronous"`
	// NodeSpec is what new nodes are made from.
	NodeSpec
	// ReadOnlyPort is the public port of the replicas, 0 if there is none.
	ReadOnlyPort int `json:"readonly_port,omitempty"`
	// Global says that no other site of the federation gives the port to anybody
	// else.
	Global bool `json:"global,omitempty"`
	// Follows is the host:port of another site's routers, as long as the cluster is
	// a copy of what is served there.
	Follows string `json:"follows,omitempty"`
	// MaxSessions is how many clients a router serves at once; 0 leaves it to the
	// router.
	MaxSessions int `json:"max_sessions,omitempty"`
	// RequireTLS says that clients that do not speak TLS are refused.
	RequireTLS bool `json:"require_tls,omitempty"`
	// Extensions are those that the user may use, by name, in order.
	Extensions []string `json:"extensions,omitempty"`
	// PostgresMajor is the major version of the cluster's data; 0: not recorded,
	// the first that this program made.
	PostgresMajor int `json:"postgres_major,omitempty"`
	// Settings are the PostgreSQL settings that the user asked for, by name.
	Settings map[string]string `json:"settings,omitempty"`
	// LoginChange tells of a replacement of the cluster's own passwords.
	LoginChange
}

// CheckVersion returns a TooNewError if the record is too new for this program.
func (c Cluster) CheckVersion() error { return checkVersion(c.Version) }

// KeptCluster decodes the record of a cluster for those who must not take what they
// can not read for something that is gone: it comes out as a record that is too
// new, with nothing in it.
func KeptCluster(b []byte) (Cluster, error) {
	c, err := JSON[Cluster](b)
	if err != nil {
		return Cluster{Version: RecordVersion + 1}, nil
	}
	return c, nil
}

// NodeSpec is what a node's container is made from. Two that are equal make
// containers that need not be told apart.
type NodeSpec struct {
	// Image is the container image, with its tag.
	Image string `json:"image"`
	// MemoryMB and MilliCPU limit the container: MiB, and thousandths of a core.
	MemoryMB int `json:"memory_mb"`
	MilliCPU int `json:"milli_cpu"`
	// Restarts is counted up to have the container stopped cleanly and made anew.
	Restarts int `json:"restarts,omitempty"`
}

// Digest names the spec in a label and in a NodeStatus: equal specs have equal
// digests.
func (s NodeSpec) Digest() string {
	return fmt.Sprintf("%s/%d/%d/%d", s.Image, s.MemoryMB, s.MilliCPU, s.Restarts)
}

// Node is one member of a cluster: one container on one backend.
type Node struct {
	NodeID    string `json:"node_id"`
	BackendID string `json:"backend_id"`
	PlanID    string `json:"plan_id"`
	ServiceID string `json:"service_id"`
	// Spec is what the node's container is made from, if that is not the
	// cluster's NodeSpec. The registrar replaces a container that was made from
	// anything else; the volume stays.
	Spec *NodeSpec `json:"spec,omitempty"`
	// Removed asks the backend's registrar to delete the container and its
	// volume. The node stays in the record until the registrar has said that
	// both are gone.
	Removed bool `json:"removed,omitempty"`
}

// Container returns the name of the node's container and of its volume.
func (n Node) Container() string { return "cf-" + n.NodeID }

// SpecOf returns what the container of one of the cluster's nodes is made from.
func (c Cluster) SpecOf(n Node) NodeSpec {
	if n.Spec != nil {
		return *n.Spec
	}
	return c.NodeSpec
}

// Node returns the cluster's node of that id.
func (c Cluster) Node(id string) (Node, bool) {
	for _, n := range c.Nodes {
		if n.NodeID == id {
			return n, true
		}
	}
	return Node{}, false
}
