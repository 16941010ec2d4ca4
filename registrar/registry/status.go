package registry

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// DeploymentList returns every deployment with its status, clusters among them,
// by id.
func (t *Tables) DeploymentList(now time.Time) []Deployment {
	var all []Deployment
	for e := range t.Deployments.All() {
		all = append(all, t.deployment(e.Value, now))
	}
	for e := range t.clusters.All() {
		all = append(all, t.clusterDeployment(e.Value.read(), now))
	}
	slices.SortFunc(all, func(a, b Deployment) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// DefinitionList returns every definition, plans' containers among them, by id.
func (t *Tables) DefinitionList() []Definition {
	all := slices.DeleteFunc(t.planDefinitions(), func(d Definition) bool {
		_, put := t.Definitions.Get(d.ID)
		return put
	})
	for e := range t.Definitions.All() {
		all = append(all, e.Value.Definition)
	}
	slices.SortFunc(all, func(a, b Definition) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// deployment returns a deployment as it is told.
func (t *Tables) deployment(r DeploymentRecord, now time.Time) Deployment {
	d := r.Deployment
	d.Slug = cmp.Or(d.Slug, d.ID)
	d.Status, d.Details = t.status(r, now)
	return d
}

// status finds out how far a deployment is, the worst news first.
func (t *Tables) status(r DeploymentRecord, now time.Time) (DeploymentStatus, string) {
	if r.Deleted {
		return DeploymentDeploying, "is being deleted: " + t.leaving(r)
	}
	def, there := t.Definitions.Get(r.DefinitionID)
	if !there {
		return DeploymentFailed, fmt.Sprintf("definition '%s' is gone", r.DefinitionID)
	}
	run := NewRun(def.Value.Definition, r.Deployment)
	p := t.progress(r, run)
	if p.failure != "" {
		return DeploymentFailed, p.failure
	}
	available := len(t.Candidates(r.Deployment, run, now))
	switch {
	case len(p.live) < r.Replicas && available < r.Replicas:
		return DeploymentError, fmt.Sprintf("only %d of %d nodes available", available, r.Replicas)
	case p.trouble != "":
		return DeploymentError, p.trouble
	case len(p.live) == 0 && r.Replicas > 0:
		return DeploymentPending, "waits to be placed"
	case p.current < r.Replicas:
		return DeploymentDeploying, fmt.Sprintf("%d of %d instances are up to date%s", p.current, r.Replicas, stuck(r.Deployment, run, available))
	case p.healthy < r.Replicas:
		return DeploymentDeploying, fmt.Sprintf("%d of %d instances are healthy", p.healthy, r.Replicas)
	case len(p.live) > r.Replicas || t.leavingHere(r):
		return DeploymentDeploying, t.leaving(r)
	}
	return DeploymentOK, fmt.Sprintf("%d of %d instances are healthy", p.healthy, r.Replicas)
}

// stuck says why an update does not go on, "" if it does.
func stuck(d Deployment, run Run, available int) string {
	if unavailable, _ := d.Bounds(run); unavailable > 0 || len(run.FixedPorts()) == 0 || available > d.Replicas {
		return ""
	}
	return "; host ports are fixed, there is no node without an instance, and maxUnavailable is 0"
}

// progress is what a deployment has.
type progress struct {
	live []Placement
	// current are those that run what is wanted now, healthy those of them that
	// answer.
	current, healthy int
	// trouble is why an instance does not run, failure why none can.
	trouble, failure string
}

func (t *Tables) progress(r DeploymentRecord, run Run) progress {
	p := progress{live: r.Live()}
	digest := run.Digest()
	for _, at := range p.live {
		if b, built := t.Builds.Get(run.DefinitionID, at.Node); built && b.Value.Status == BuildFailed && b.Value.Image == run.ImageRef() {
			p.failure = fmt.Sprintf("build of definition '%s' on node %s failed: %s", run.DefinitionID, at.Node, b.Value.Details)
		}
		in, _ := t.Instances.Get(at.ID)
		if in.Value.Status == InstanceError {
			p.trouble = fmt.Sprintf("instance %s: %s", at.ID, in.Value.Details)
		}
		if at.Run.Digest() != digest {
			continue
		}
		p.current++
		if t.Healthy(at) {
			p.healthy++
		}
	}
	return p
}

// leaving tells whose instances are still there.
func (t *Tables) leaving(r DeploymentRecord) string {
	count := map[string]int{}
	for _, p := range r.Placements {
		if p.Removed || r.Deleted {
			count[p.Node]++
		}
	}
	var parts []string
	for node, n := range count {
		part := fmt.Sprintf("%d to be removed on node %s", n, node)
		if _, alive := t.Backends.Get(node); !alive {
			part += ", which is unreachable"
		}
		parts = append(parts, part)
	}
	slices.Sort(parts)
	return cmp.Or(strings.Join(parts, "; "), "nothing is left")
}

// leavingHere reports whether an instance is being removed on a node that can
// do so. One that is unreachable does when it comes back.
func (t *Tables) leavingHere(r DeploymentRecord) bool {
	return slices.ContainsFunc(r.Placements, func(p Placement) bool {
		_, alive := t.Backends.Get(p.Node)
		return p.Removed && alive
	})
}
