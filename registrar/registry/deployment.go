package registry

import (
	"encoding/json"
	"fmt"
)

// Deployment asks for a number of instances of a definition.
type Deployment struct {
	ID           string `json:"id"`
	DefinitionID string `json:"definitionId"`
	Name         string `json:"name,omitempty"`
	Description  string `json:"description,omitempty"`
	// Slug is by which callers ask for the instances' addresses. Default: ID.
	Slug string `json:"slug,omitempty"`
	// Replicas is how many instances there are, each on a node of its own.
	// Default 1.
	Replicas int      `json:"replicas"`
	Strategy Strategy `json:"strategy"`
	// Resources limit each instance.
	Resources Resources `json:"resources,omitzero"`
	// TargetRegions are where instances may be. None: anywhere.
	TargetRegions []TargetRegion `json:"targetRegions,omitempty"`
	// Envars win over the definition's.
	Envars Envars `json:"envars,omitempty"`
	// Status and Details tell how far it is. They are found out, never stored.
	Status  DeploymentStatus `json:"status,omitempty"`
	Details string           `json:"details,omitempty"`
}

// DeploymentStatus is how far a deployment is.
type DeploymentStatus string

// The statuses of deployments.
const (
	// DeploymentOK: exactly the wanted instances run, and all are healthy.
	DeploymentOK DeploymentStatus = "OK"
	// DeploymentPending: nothing was placed yet.
	DeploymentPending DeploymentStatus = "Pending"
	// DeploymentDeploying: it is on its way there.
	DeploymentDeploying DeploymentStatus = "Deploying"
	// DeploymentError: it can not get there as things are.
	DeploymentError DeploymentStatus = "Error"
	// DeploymentFailed: it can not get there until the definition is another,
	// as after a failed build.
	DeploymentFailed DeploymentStatus = "Failed"
)

// Strategy says how instances are replaced by those of another definition.
type Strategy struct {
	Type StrategyType `json:"type"`
	// MaxUnavailable is how many of Replicas may be missing meanwhile, MaxSurge
	// how many more than Replicas there may be. Not both are 0. Default: no
	// instance is missing, one more is there.
	MaxUnavailable *int `json:"maxUnavailable,omitempty"`
	MaxSurge       *int `json:"maxSurge,omitempty"`
}

// StrategyType names a strategy.
type StrategyType string

// The strategies.
const (
	// RollingUpdate replaces a few at a time.
	RollingUpdate StrategyType = "RollingUpdate"
	// Recreate removes all, then makes all anew.
	Recreate StrategyType = "Recreate"
)

// bounds returns MaxUnavailable and MaxSurge with their defaults: whoever names
// only one of them gets the least of the other that still moves on.
func (s Strategy) bounds() (unavailable, surge int) {
	switch {
	case s.MaxUnavailable != nil && s.MaxSurge != nil:
		return *s.MaxUnavailable, *s.MaxSurge
	case s.MaxUnavailable != nil && *s.MaxUnavailable > 0:
		return *s.MaxUnavailable, 0
	case s.MaxSurge != nil && *s.MaxSurge == 0:
		return 1, 0
	case s.MaxSurge != nil:
		return 0, *s.MaxSurge
	}
	return 0, 1
}

// Bounds returns how many instances may be missing, and be too many, while
// instances of run take the place of others. Ones with fixed host ports can not
// be beside those that they replace: if nobody says otherwise, one is missing.
func (d Deployment) Bounds(run Run) (unavailable, surge int) {
	switch s := d.Strategy; {
	case s.Type == Recreate:
		return d.Replicas, 0
	case s.MaxUnavailable == nil && s.MaxSurge == nil && len(run.FixedPorts()) > 0:
		return 1, 0
	default:
		return s.bounds()
	}
}

// Resources are what one instance may use. Zero: no limit.
type Resources struct {
	CPU    MilliCPU `json:"cpu,omitzero"`
	Memory Bytes    `json:"memory,omitzero"`
}

// TargetRegion is a place where instances may be.
type TargetRegion struct {
	// Cluster is a region, a zone or a node's id.
	Cluster string `json:"cluster,omitempty"`
	// Zone is an availability zone in it.
	Zone string `json:"zone,omitempty"`
}

// UnmarshalJSON reads the object, or the name of a region alone.
func (r *TargetRegion) UnmarshalJSON(b []byte) error {
	var name string
	if json.Unmarshal(b, &name) == nil {
		*r = TargetRegion{Cluster: name}
		return nil
	}
	type plain TargetRegion
	return json.Unmarshal(b, (*plain)(r))
}

// holds reports whether a node lies there.
func (r TargetRegion) holds(n Node) bool {
	inCluster := r.Cluster == "" || r.Cluster == n.Region || r.Cluster == n.AvailabilityZone || r.Cluster == n.ID
	return inCluster && (r.Zone == "" || r.Zone == n.AvailabilityZone)
}

// maxReplicas bounds a deployment: its record holds where each instance is.
const maxReplicas = 500

// leastMemory is the least limit that Docker takes.
const leastMemory = 6 << 20

// Validate returns the first problem, naming its field.
func (d Deployment) Validate() error {
	for _, err := range []error{
		validID("id", d.ID), validID("definitionId", d.DefinitionID), validSlug(d.Slug), d.Strategy.validate(), d.Envars.validate(),
	} {
		if err != nil {
			return err
		}
	}
	if d.Replicas < 0 || d.Replicas > maxReplicas {
		return FieldError{"replicas", fmt.Sprintf("must be from 0 to %d, got %d", maxReplicas, d.Replicas)}
	}
	if d.Resources.Memory != 0 && d.Resources.Memory < leastMemory {
		return FieldError{"resources.memory", "must be at least 6Mi"}
	}
	for i, r := range d.TargetRegions {
		if r == (TargetRegion{}) {
			return FieldError{fmt.Sprintf("targetRegions[%d]", i), "must name a cluster or a zone"}
		}
	}
	return nil
}

func validSlug(slug string) error {
	if slug == "" {
		return nil
	}
	return validID("slug", slug)
}

func (s Strategy) validate() error {
	if s.Type != RollingUpdate && s.Type != Recreate {
		return FieldError{"strategy.type", fmt.Sprintf("must be RollingUpdate or Recreate, got %q", s.Type)}
	}
	for field, n := range map[string]*int{"strategy.maxUnavailable": s.MaxUnavailable, "strategy.maxSurge": s.MaxSurge} {
		if n != nil && *n < 0 {
			return FieldError{field, fmt.Sprintf("must not be negative, got %d", *n)}
		}
	}
	if unavailable, surge := s.bounds(); unavailable == 0 && surge == 0 {
		return FieldError{"strategy.maxUnavailable", "must not be 0 while maxSurge is 0: nothing could be replaced"}
	}
	return nil
}
