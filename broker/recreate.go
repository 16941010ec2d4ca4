package broker

import (
	"github.com/google/uuid"

	"github.com/pgpatron/pgpatron/broker/planner"
	"github.com/pgpatron/pgpatron/state"
)

// stepEmpty waits until nothing is left of the nodes of an instance that is
// being made anew, or nobody can tell.
const stepEmpty = "empty"

// patroniKeys are what Patroni keeps of a cluster, beside its members.
var patroniKeys = []string{"leader", "config", "initialize", "status", "history", "sync", "failover", "failsafe"}

// awaitEmpty waits until every node is removed whose registrar is there. What a
// silent host still has is unclaimed when it comes back: its containers go, its
// volumes are kept.
func (d *driver) awaitEmpty(in state.Instance) []state.Group {
	cluster, _ := d.tables.clusters.Get(in.InstanceID)
	left := 0
	for _, n := range cluster.Value.Nodes {
		status, _ := d.tables.nodes.Get(n.NodeID)
		if _, registered := d.tables.backends.Get(n.BackendID); registered && status.Value.Phase != state.PhaseRemoved {
			left++
		}
	}
	if left > 0 {
		return d.tell(in, "removing the nodes that there were")
	}
	return d.record(in, "cluster is empty", d.refill)
}

// refill gives a cluster new nodes and has everything that was made in the old
// ones made again: settings, extensions, logins.
func (d *driver) refill(tx *state.Tx, in *state.Instance) error {
	cluster, exists, err := state.Load(tx, state.ClusterKey(in.InstanceID), state.JSON[state.Cluster])
	if err != nil || !exists {
		return err
	}
	plan, _ := d.cfg.plan(in.PlanID)
	wanted, err := plan.ProvisionParameters(in.Parameters)
	if err != nil {
		return err
	}
	goal := planner.NewTarget(plan, wanted, cluster.NodeSpec)
	backends, err := d.tables.fleet(d.cfg.ShareBackends).PlaceNew(plan, goal.Nodes)
	if err != nil {
		in.Operation.Failure = err.Error()
		failed(&in.Operation, false)
		return nil
	}
	d.forgetPatroni(tx, cluster)
	forgetSwitches(tx, in.InstanceID, cluster.Nodes...)
	cluster.Settings, cluster.Extensions, cluster.Synchronous = nil, nil, goal.Synchronous
	cluster.Nodes = newNodes(*in, backends)
	cluster.RetireLogins()
	tx.PutJSON(state.ClusterKey(in.InstanceID), cluster)
	in.Operation.Step, in.Operation.Description = stepNodes, "placing the nodes"
	return d.remakeLogins(tx, in.InstanceID)
}

// newNodes returns a node for each of the backends.
func newNodes(in state.Instance, backends []string) []state.Node {
	nodes := make([]state.Node, 0, len(backends))
	for _, backend := range backends {
		nodes = append(nodes, state.Node{NodeID: uuid.NewString(), BackendID: backend, PlanID: in.PlanID, ServiceID: in.ServiceID})
	}
	return nodes
}

// forgetPatroni removes what Patroni knows of the old nodes: new ones begin a
// cluster of their own.
func (d *driver) forgetPatroni(tx *state.Tx, cluster state.Cluster) {
	for _, name := range patroniKeys {
		tx.Delete(state.ClusterPrefix(cluster.InstanceID) + name)
	}
	for m := range d.tables.members.Under(cluster.InstanceID) {
		tx.Delete(state.MemberKey(cluster.InstanceID, m.Params[1]))
	}
}

// remakeLogins has the logins of all bindings made again, with their passwords.
func (d *driver) remakeLogins(tx *state.Tx, id string) error {
	for b := range d.tables.bindings.Under(id) {
		key := state.BindingKey(id, b.Value.BindingID)
		now, exists, err := state.Load(tx, key, state.JSON[state.Binding])
		if err != nil {
			return err
		}
		if exists && now.State == state.BindingReady {
			now.State = state.BindingCreating
			tx.PutJSON(key, now)
		}
	}
	return nil
}
