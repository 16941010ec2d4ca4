package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgpatron/pgpatron/state"
)

// addNode puts the step's node into the record; its backend's registrar sees it
// there.
func (t turn) addNode() outcome {
	return outcome{passed: true, apply: func(_ *state.Tx, c *state.Cluster) error {
		if _, there := c.Node(t.step.Node); there {
			return nil
		}
		n := state.Node{NodeID: t.step.Node, BackendID: t.step.Backend, PlanID: c.PlanID, ServiceID: c.ServiceID}
		setSpec(&n, *c, *t.step.Spec)
		c.Nodes = append(c.Nodes, n)
		return nil
	}}
}

// setSpec says what a node of the cluster is to be made from.
func setSpec(n *state.Node, c state.Cluster, spec state.NodeSpec) {
	n.Spec = nil
	if spec != c.NodeSpec {
		n.Spec = &spec
	}
}

// awaitNode waits until the step's node is a full member.
func (t turn) awaitNode() outcome { return t.awaitMember(t.step.Node, t.step.Backend) }

// maxLag is how many bytes of WAL a replica may be behind its leader and count
// as caught up. Both tell where they are every two seconds.
const maxLag = 16 << 20

// awaitMember waits until a node leads, or follows the leader and has caught up.
// What members write into etcd may be older than their container, so the node
// itself is asked in the end.
func (t turn) awaitMember(node, backend string) outcome {
	if out := t.notYet(node, backend); out.doing != "" {
		return out
	}
	m, _ := t.tables.members.Get(t.in.InstanceID, node)
	leader, _ := t.tables.members.Get(t.in.InstanceID, t.leads())
	leads := t.leads() == node
	lag := leader.Value.XlogLocation - m.Value.XlogLocation
	switch {
	case !m.Value.IsRunning():
		return waiting("the node is %s", m.Value.State)
	case !leads && !m.Value.IsStreaming():
		return waiting("the node does not follow the leader yet")
	case !leads && lag > maxLag:
		return waiting("the node is %d MiB behind", lag>>20)
	}
	return awaitJob(t.ask("ask the node", func(ctx context.Context) error { return t.confirm(ctx, node) }))
}

// notYet tells why a node can not be a member yet, if it can not.
func (t turn) notYet(node, backend string) outcome {
	status, told := t.tables.nodes.Get(node)
	_, registered := t.tables.backends.Get(backend)
	_, member := t.tables.members.Get(t.in.InstanceID, node)
	switch {
	case told && status.Value.Phase == state.PhaseFailed:
		return outcome{stuck: true, doing: status.Value.Details}
	case !registered:
		return outcome{stuck: true, doing: fmt.Sprintf("the registrar of backend %s is silent", backend)}
	case !told:
		return outcome{stuck: true, doing: fmt.Sprintf("backend %s has not begun yet", backend)}
	case status.Value.Phase != state.PhaseRunning:
		return waiting("the container is %s", status.Value.Phase)
	case !member:
		return waiting("the node has not joined the cluster yet")
	}
	return outcome{}
}

// confirm asks a node whether it leads or follows.
func (t turn) confirm(ctx context.Context, node string) error {
	client, err := t.rest(node)
	if err != nil {
		return err
	}
	s, err := client.Status(ctx)
	switch {
	case err != nil:
		return err
	case !s.IsRunning():
		return fmt.Errorf("the node is %s", s.State)
	case !s.IsPrimary() && s.ReplicationState != "streaming":
		return errors.New("the node does not follow the leader yet")
	}
	return nil
}
