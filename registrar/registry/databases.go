package registry

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// The roles of databases' nodes.
const (
	roleLeader  = "leader"
	roleReplica = "replica"
)

// planDefinition returns the container of a plan, as its newest cluster has it.
func (t *Tables) planDefinition(plan string) (Definition, bool) {
	for _, d := range t.planDefinitions() {
		if d.ID == plan {
			return d, true
		}
	}
	return Definition{}, false
}

func (t *Tables) planDefinitions() []Definition {
	newest := map[string]int64{}
	images := map[string]string{}
	for e := range t.clusters.All() {
		c := e.Value.read()
		if c.PlanID != "" && e.CreateRevision > newest[c.PlanID] {
			newest[c.PlanID], images[c.PlanID] = e.CreateRevision, c.Image
		}
	}
	var all []Definition
	for plan, image := range images {
		all = append(all, Definition{
			ID: plan, Scheme: SchemePostgreSQL,
			Image: &Image{Name: image, InternalPorts: []int{patroni.PostgreSQLPort, patroni.RESTPort}},
		})
	}
	return all
}

// database returns the cluster of that id as a deployment.
func (t *Tables) database(id string, now time.Time) (Deployment, bool) {
	e, there := t.clusters.Get(id)
	if !there {
		return Deployment{}, false
	}
	return t.clusterDeployment(e.Value.read(), now), true
}

func (t *Tables) clusterDeployment(c state.Cluster, now time.Time) Deployment {
	wanted, healthy := 0, 0
	var broken []string
	for _, n := range c.Nodes {
		if n.Removed {
			continue
		}
		wanted++
		in := t.databaseInstance(c, n, now)
		if in.Status == InstanceHealthy {
			healthy++
		}
		if in.Status == InstanceError || in.Status == InstanceUnreachable {
			broken = append(broken, fmt.Sprintf("instance %s: %s", in.ID, in.Details))
		}
	}
	d := Deployment{
		ID: c.InstanceID, DefinitionID: c.PlanID, Name: c.InstanceID, Description: "PostgreSQL, changed by the broker alone",
		Slug: c.InstanceID, Replicas: wanted, Strategy: Strategy{Type: RollingUpdate},
		Resources: Resources{CPU: MilliCPU(c.MilliCPU), Memory: Bytes(c.MemoryMB) << 20},
		Status:    DeploymentOK, Details: fmt.Sprintf("%d of %d instances are healthy", healthy, wanted),
	}
	switch {
	case len(broken) > 0:
		d.Status, d.Details = DeploymentError, strings.Join(broken, "; ")
	case healthy < wanted || wanted < len(c.Nodes):
		d.Status = DeploymentDeploying
	}
	return d
}

func (t *Tables) databaseInstances(now time.Time) []Instance {
	var all []Instance
	for e := range t.clusters.All() {
		c := e.Value.read()
		for _, n := range c.Nodes {
			all = append(all, t.databaseInstance(c, n, now))
		}
	}
	return all
}

// databaseInstance returns one node of a cluster as an instance: where it is
// announced, and how its registrar and Patroni say it is.
func (t *Tables) databaseInstance(c state.Cluster, n state.Node, now time.Time) Instance {
	in := Instance{ID: n.NodeID, DeploymentID: c.InstanceID, Slug: c.InstanceID, Scheme: SchemePostgreSQL}
	leader, _ := t.leaders.Get(c.InstanceID)
	in.Role = roleReplica
	if leader.Value == n.NodeID {
		in.Role = roleLeader
	}
	in.Tags = []string{in.Role}
	host, _ := t.Node(n.BackendID, now)
	alive := host.Status != NodeUnreachable && host.ID != ""
	in.NodeURL, in.Host, in.LastHeartbeat = host.URL, host.Hostname, host.LastHeartbeat
	announced, _ := t.announcements.Get(state.AnnouncementParam(host.Hostname, n.Container(), patroni.PostgreSQLPort))
	if addr, err := netip.ParseAddrPort(announced.Value); err == nil {
		in.SetAddr(SchemePostgreSQL, addr, "")
	}
	status, told := t.statuses.Get(n.NodeID)
	member, _ := t.members.Get(c.InstanceID, n.NodeID)
	in.Status, in.Details = databaseStatus(status.Value.read(), member.Value.read(), in.Role)
	switch {
	case n.Removed:
		in.Details = "is being removed"
	case !alive:
		in.Status, in.Details = InstanceUnreachable, "node "+n.BackendID+" is unreachable"
	case !told:
		in.Details = "placed on node " + n.BackendID
	}
	return in
}

// databaseStatus judges a node by what its registrar and Patroni say.
func databaseStatus(s state.NodeStatus, m patroni.Member, role string) (InstanceStatus, string) {
	switch {
	case s.Phase == state.PhaseFailed || s.Phase == state.PhaseStopped:
		return InstanceError, cmp.Or(s.Details, string(s.Phase))
	case s.Phase != state.PhaseRunning:
		return InstanceUnknown, cmp.Or(s.Details, string(s.Phase))
	case m.State == "":
		return InstanceUnknown, "Patroni has not said anything yet"
	case !m.IsRunning():
		return InstanceDegraded, "PostgreSQL is " + m.State
	case role == roleLeader || m.IsStreaming():
		return InstanceHealthy, ""
	case m.IsPrimary():
		return InstanceDegraded, "says that it is primary, without being leader"
	}
	return InstanceDegraded, "does not follow a leader"
}

// isDatabase reports whether a cluster, or a node of one, has the id.
func (t *Tables) isDatabase(id string) bool {
	_, there := t.clusters.Get(id)
	return there
}

func (t *Tables) isDatabaseNode(id string) bool {
	_, told := t.statuses.Get(id)
	if told {
		e, _ := t.Instances.Get(id)
		return e.Value.Backend != ""
	}
	return slices.ContainsFunc(t.databaseInstances(time.Time{}), func(in Instance) bool { return in.ID == id })
}
