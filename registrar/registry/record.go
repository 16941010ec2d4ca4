package registry

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// DefinitionRecord is what etcd holds of a definition.
type DefinitionRecord struct {
	Definition
	// UsedBy are the ids of the deployments that ask for it. It is written with
	// each of them, so that none can come while the definition is deleted.
	UsedBy []string `json:"used_by,omitempty"`
	// ByAdmin says that an admin put it as it is. Brokers make databases' nodes
	// from no other (state.PlanContainer).
	ByAdmin bool `json:"by_admin,omitempty"`
}

// use and release keep UsedBy.
func (r *DefinitionRecord) use(deployment string) {
	if !slices.Contains(r.UsedBy, deployment) {
		r.UsedBy = append(r.UsedBy, deployment)
		slices.Sort(r.UsedBy)
	}
}

func (r *DefinitionRecord) release(deployment string) {
	r.UsedBy = slices.DeleteFunc(r.UsedBy, func(d string) bool { return d == deployment })
}

// DeploymentRecord is what etcd holds of a deployment: what is wanted, and
// where it was placed.
type DeploymentRecord struct {
	Deployment
	// Placements are its instances. The elected registrar adds and marks them,
	// the registrar of its host takes one out once its container is gone.
	Placements []Placement `json:"placements,omitempty"`
	// Deleted says that the deployment goes as soon as no placement is left.
	Deleted bool `json:"deleted,omitempty"`
}

// Placement is one instance of a deployment on one node, for good: an instance
// of anything else, or elsewhere, is another placement.
type Placement struct {
	ID   string `json:"id"`
	Node string `json:"node"`
	Run  Run    `json:"run"`
	// Removed asks the node's registrar to remove the container.
	Removed bool `json:"removed,omitempty"`
}

// Live returns the placements that are not to be removed.
func (r DeploymentRecord) Live() []Placement {
	return slices.DeleteFunc(slices.Clone(r.Placements), func(p Placement) bool { return p.Removed })
}

// Run is all that a host needs to know to run an instance.
type Run struct {
	DefinitionID string      `json:"definition"`
	Image        string      `json:"image,omitempty"`
	Repository   *Repository `json:"repository,omitempty"`
	Ports        []Port      `json:"ports,omitempty"`
	Envars       Envars      `json:"envars,omitempty"`
	Resources    Resources   `json:"resources,omitzero"`
	Scheme       string      `json:"scheme"`
	Path         string      `json:"path,omitempty"`
}

// NewRun returns what an instance of the deployment runs now.
func NewRun(def Definition, dep Deployment) Run {
	run := Run{
		DefinitionID: def.ID, Repository: def.Repository, Ports: def.Mappings(),
		Envars: dep.Envars.Over(def.Envars), Resources: dep.Resources, Scheme: def.Scheme, Path: def.Path,
	}
	if def.Image != nil {
		run.Image = def.Image.Name
	}
	if run.Scheme == "" {
		run.Scheme = SchemeHTTP
	}
	return run
}

// Digest names the run: equal ones have equal digests.
func (r Run) Digest() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("encoding a run: %v", err)) // it is made of what JSON has
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))[:12]
}

// FixedPorts are the host ports that the run can not do without.
func (r Run) FixedPorts() []int {
	var ports []int
	for _, p := range r.Ports {
		if p.Host != 0 {
			ports = append(ports, p.Host)
		}
	}
	return ports
}

// InstanceRecord is what etcd holds of an instance that is no database's.
type InstanceRecord struct {
	Instance
	// Node is the node whose registrar runs it, empty if it registered itself.
	Node string `json:"node,omitempty"`
	// Backend is set in a state.NodeStatus, which shares the prefix.
	Backend string `json:"backend_id,omitempty"`
}

// BuildStatus is how far a build is.
type BuildStatus string

// The statuses of builds.
const (
	BuildRunning   BuildStatus = "Building"
	BuildSucceeded BuildStatus = "Succeeded"
	BuildFailed    BuildStatus = "Failed"
)

// Build is how the last build of a definition went on one node.
type Build struct {
	DefinitionID string      `json:"definitionId"`
	NodeID       string      `json:"nodeId"`
	Image        string      `json:"image"`
	Status       BuildStatus `json:"status"`
	// Details is why it failed; Log is what the build said, its end if it was
	// much.
	Details  string    `json:"details,omitempty"`
	Log      string    `json:"log,omitempty"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
}

// ImageRef names the image that the run needs: its definition's, or the one
// that its repository is built into.
func (r Run) ImageRef() string {
	if r.Repository == nil {
		return r.Image
	}
	text, err := json.Marshal(r.Repository)
	if err != nil {
		panic(fmt.Sprintf("encoding a repository: %v", err)) // it is made of strings
	}
	sum := sha256.Sum256(append([]byte(r.DefinitionID+" "), text...))
	return fmt.Sprintf("%s:%x", BuiltImages, sum[:8])
}

// BuiltImages is the name of the images that are built from repositories.
const BuiltImages = "pgpatron-built"
