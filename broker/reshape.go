package broker

import "github.com/pgpatron/pgpatron/state"

// reshapeNode asks for the step's node to be made anew, waits until its
// registrar has done that, and until the node is a member again. A node that
// leads others hands over first: its container is stopped.
func (t turn) reshapeNode() outcome {
	n, there := t.cluster.Node(t.step.Node)
	if !there {
		return passed
	}
	if t.cluster.SpecOf(n) != *t.step.Spec {
		return t.unlessLeading(func(n *state.Node, c *state.Cluster) { setSpec(n, *c, *t.step.Spec) })
	}
	status, _ := t.tables.nodes.Get(n.NodeID)
	if status.Value.Spec != t.step.Spec.Digest() && status.Value.Phase != state.PhaseFailed {
		return waiting("the container is being made anew")
	}
	return t.awaitMember(n.NodeID, n.BackendID)
}

// unlessLeading changes the step's node in the record, when it does not lead
// while another could.
func (t turn) unlessLeading(change func(n *state.Node, c *state.Cluster)) outcome {
	if len(t.heirs()) > 0 {
		if out := t.handOver(); !out.passed {
			return out
		}
	}
	return outcome{apply: func(tx *state.Tx, c *state.Cluster) error {
		leader, _, err := state.Load(tx, state.LeaderKey(c.InstanceID), state.Text)
		if err != nil {
			return err
		}
		if leader == t.step.Node && len(t.heirs()) > 0 {
			return state.ErrSkip
		}
		for i := range c.Nodes {
			if c.Nodes[i].NodeID == t.step.Node {
				change(&c.Nodes[i], c)
			}
		}
		return nil
	}}
}
