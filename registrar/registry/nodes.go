package registry

import (
	"slices"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// Nodes returns every node, by id, those that fell silent among them.
func (t *Tables) Nodes(now time.Time) []Node {
	var nodes []Node
	for _, b := range state.Backends(t.Backends, t.hosts) {
		nodes = append(nodes, t.node(b, now))
	}
	return nodes
}

// Node returns the node of that id.
func (t *Tables) Node(id string, now time.Time) (Node, bool) {
	b, known := state.BackendOf(t.Backends, t.hosts, id)
	if !known {
		return Node{}, false
	}
	return t.node(b, now), true
}

func (t *Tables) node(b state.KnownBackend, now time.Time) Node {
	cordon, _ := t.Cordons.Get(b.ID)
	n := Node{
		ID: b.ID, URL: b.URL, AvailabilityZone: b.Zone, Region: b.Region, Hostname: b.Hostname, Labels: b.Labels,
		Usage: usageOf(b.Backend), LastHeartbeat: b.LastSeen, Status: NodeStatus(b.Status), Cordoned: state.IsDisabled(cordon.Value),
	}
	if n.Status != NodeUnreachable {
		// It is registered under a lease that it keeps alive.
		n.LastHeartbeat = now.UTC().Truncate(time.Second)
	}
	return n
}

func usageOf(b state.Backend) Usage {
	cpu := int64(b.Capacity.CPUs) * 1000
	megabytes := func(used, total int) Amount { return newAmount(int64(used)<<20, int64(total)<<20) }
	return Usage{
		CPU:    newAmount(cpu*int64(b.Use.CPUPercent)/100, cpu),
		Memory: megabytes(b.Use.MemoryMB, b.Capacity.MemoryMB),
		Disk:   megabytes(b.Use.DiskMB, b.Capacity.DiskMB),
	}
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
