package broker

import (
	"slices"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// removeNode asks for the removal of the step's node. A leader hands over first,
// and nothing is removed while nobody leads.
func (t turn) removeNode() outcome {
	n, there := t.cluster.Node(t.step.Node)
	switch {
	case !there || n.Removed:
		return passed
	case t.leads() == "":
		return waiting("the cluster has no leader now")
	case len(t.heirs()) == 0:
		return waiting("no other node stays")
	}
	out := t.unlessLeading(func(n *state.Node, _ *state.Cluster) { n.Removed = true })
	out.passed = out.apply != nil
	return out
}

// How long an update waits for a registrar to remove a node, and for one that is
// silent.
const (
	releaseLimit = 2 * time.Minute
	silentLimit  = 30 * time.Second
)

// releaseNode waits until the registrar has removed the step's node, and forgets
// it. A host that is down must not hold up an update that moves off it: after a
// while the node is left in the record, for its registrar to remove and for
// forgetRemoved to forget.
func (t turn) releaseNode() outcome {
	if _, there := t.cluster.Node(t.step.Node); !there {
		return passed
	}
	status, _ := t.tables.nodes.Get(t.step.Node)
	_, registered := t.tables.backends.Get(t.step.Backend)
	limit := releaseLimit
	if !registered {
		limit = silentLimit
	}
	switch {
	case status.Value.Phase == state.PhaseRemoved:
		return outcome{passed: true, apply: forgetNode(t.step.Node)}
	case time.Since(t.in.Operation.StepSince) > min(limit, t.cfg.UpdateTimeout):
		t.log.Warn("a node is not removed yet, its registrar will do that when it can",
			"instance", t.in.InstanceID, "member", t.step.Node, "backend", t.step.Backend)
		return passed
	case !registered:
		return waiting("the registrar of backend %s is silent", t.step.Backend)
	}
	return outcome{}
}

// forgetNode takes a node whose container and volume are gone out of the record,
// what Patroni keeps of it, its certificate and its switch.
func forgetNode(node string) func(*state.Tx, *state.Cluster) error {
	return func(tx *state.Tx, c *state.Cluster) error {
		c.Nodes = slices.DeleteFunc(slices.Clone(c.Nodes), func(n state.Node) bool { return n.NodeID == node && n.Removed })
		tx.Delete(state.MemberKey(c.InstanceID, node))
		tx.Delete(state.CertificateKey(c.InstanceID, node))
		forgetSwitches(tx, c.InstanceID, state.Node{NodeID: node})
		return nil
	}
}

// forgetSwitches removes the switches of nodes of a cluster that are gone.
func forgetSwitches(tx *state.Tx, id string, nodes ...state.Node) {
	for _, n := range nodes {
		sw := state.ReplicaSwitchOf(id, n.NodeID)
		tx.Delete(sw.Key())
		tx.Delete(state.SwitchedKey(sw))
	}
}

// forgetCluster removes what etcd holds of a cluster: what is Patroni's, too, its
// switches, its certificates, and the instance's bindings.
func forgetCluster(tx *state.Tx, id string) error {
	cluster, _, err := state.Load(tx, state.ClusterKey(id), state.JSON[state.Cluster])
	if err != nil {
		return err
	}
	forgetSwitches(tx, id, cluster.Nodes...)
	tx.DeletePrefix(state.ClusterPrefix(id))
	tx.DeletePrefix(state.CertificatePrefix(id))
	tx.DeletePrefix(state.InstanceKey(id) + "/")
	return nil
}

// forgetRemoved forgets nodes that a registrar has removed after the update that
// asked for it was over.
func (d *driver) forgetRemoved(id string) []state.Group {
	in, exists := d.tables.instances.Get(id)
	cluster, _ := d.tables.clusters.Get(id)
	if !exists || in.Value.Operation.Running() {
		return nil
	}
	var groups []state.Group
	for _, n := range cluster.Value.Nodes {
		status, _ := d.tables.nodes.Get(n.NodeID)
		if n.Removed && status.Value.Phase == state.PhaseRemoved {
			groups = append(groups, d.record(in.Value, "a removed node is forgotten", func(tx *state.Tx, _ *state.Instance) error {
				return d.change(tx, id, forgetNode(n.NodeID))
			})...)
		}
	}
	return groups
}
