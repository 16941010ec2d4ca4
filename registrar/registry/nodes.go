package registry

import (
	"slices"
	"strings"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// Nodes returns every node, by id.
func (t *Tables) Nodes(now time.Time) []Node {
	var nodes []Node
	for b := range t.Backends.All() {
		nodes = append(nodes, t.node(b.Value, now))
	}
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.ID, b.ID) })
	return nodes
}

// Node returns the node of that id.
func (t *Tables) Node(id string, now time.Time) (Node, bool) {
	b, there := t.Backends.Get(id)
	if !there {
		return Node{}, false
	}
	return t.node(b.Value, now), true
}

func (t *Tables) node(b state.Backend, now time.Time) Node {
	cordon, _ := t.Cordons.Get(b.ID)
	n := Node{
		ID: b.ID, URL: b.URL, AvailabilityZone: b.Zone, Region: b.Region, Hostname: b.Hostname,
		LastHeartbeat: now.UTC().Truncate(time.Second), Status: NodeHealthy, Cordoned: state.IsDisabled(cordon.Value),
	}
	if !b.Healthy() {
		n.Status = NodeDegraded
	}
	return n
}

// Candidates returns the nodes that an instance of the deployment can be on,
// whether or not it has one there: healthy ones in its regions, not cordoned,
// large enough, whose fixed ports no other deployment has.
func (t *Tables) Candidates(dep Deployment, run Run, now time.Time) []Node {
	taken := t.fixedPorts(dep.ID)
	return slices.DeleteFunc(t.Nodes(now), func(n Node) bool {
		return n.Status != NodeHealthy || n.Cordoned || !InRegion(dep, n) || !n.holds(dep.Resources) ||
			slices.ContainsFunc(run.FixedPorts(), func(p int) bool { return taken[hostPort{n.ID, p}] })
	})
}

// InRegion reports whether the deployment may have instances on the node.
func InRegion(dep Deployment, n Node) bool {
	return len(dep.TargetRegions) == 0 || slices.ContainsFunc(dep.TargetRegions, func(r TargetRegion) bool { return r.holds(n) })
}

// holds reports whether the node as a whole is large enough. One that does not
// tell its size is.
func (n Node) holds(r Resources) bool {
	return (n.Usage.CPU.Total == 0 || int64(r.CPU) <= n.Usage.CPU.Total) &&
		(n.Usage.Memory.Total == 0 || int64(r.Memory) <= n.Usage.Memory.Total)
}

// hostPort is a port of one node.
type hostPort struct {
	node string
	port int
}

// fixedPorts returns the fixed host ports that other deployments have.
func (t *Tables) fixedPorts(but string) map[hostPort]bool {
	taken := map[hostPort]bool{}
	for d := range t.Deployments.All() {
		if d.Value.ID == but {
			continue
		}
		for _, p := range d.Value.Placements {
			for _, port := range p.Run.FixedPorts() {
				taken[hostPort{p.Node, port}] = true
			}
		}
	}
	return taken
}
