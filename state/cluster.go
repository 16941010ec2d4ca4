package state

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

	// Version is the version of this record's layout: RecordVersion.
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
	// Image is the container image of every node, with its tag.
	Image string `json:"image"`
	// MemoryMB and CPUs limit each node. CPUs are counted in thousandths.
	MemoryMB int `json:"memory_mb"`
	MilliCPU int `json:"milli_cpu"`
}

// RecordVersion is the layout of the records that this program writes.
const RecordVersion = 1

// Node is one member of a cluster: one container on one backend.
type Node struct {
	NodeID    string `json:"node_id"`
	BackendID string `json:"backend_id"`
	PlanID    string `json:"plan_id"`
	ServiceID string `json:"service_id"`
	// Removed asks the backend's registrar to delete the container and its
	// volume. The node stays in the record until the registrar has said that
	// both are gone.
	Removed bool `json:"removed,omitempty"`
}

// Container returns the name of the node's container and of its volume.
func (n Node) Container() string { return "cf-" + n.NodeID }

// Node returns the cluster's node of that id.
func (c Cluster) Node(id string) (Node, bool) {
	for _, n := range c.Nodes {
		if n.NodeID == id {
			return n, true
		}
	}
	return Node{}, false
}
