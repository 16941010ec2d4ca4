package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// errNoHeir says that nobody could lead now without a loss.
var errNoHeir = errors.New("no other node can take over yet")

// handOver takes the leadership from the step's node, if it has it, and gives it
// to one that stays. It is over when another leads and says that it takes
// writes; how that came about does not matter.
func (t turn) handOver() outcome {
	held, led := t.tables.leaders.Get(t.in.InstanceID)
	leader := held.Value
	m, _ := t.tables.members.Get(t.in.InstanceID, leader)
	switch {
	case !led:
		return waiting("the cluster has no leader now")
	case leader != t.step.Node && m.Value.IsRunning() && m.Value.IsPrimary():
		return passed
	case leader != t.step.Node:
		return waiting("the new leader does not take writes yet")
	}
	// A node that loses the leadership and wins it again puts the key anew.
	_, err := t.ask(fmt.Sprintf("hand over, led since %d", held.ModRevision), t.switchover)
	return retrying("a node that stays is asked to take over", err)
}

// switchover asks Patroni for another leader, if the step's node still leads.
// Patroni lets the old one send all it has before the new one begins.
func (t turn) switchover(ctx context.Context) error {
	if t.leader() != t.step.Node {
		return nil
	}
	var heir string
	t.view(func() { heir = t.heir() })
	if heir == "" {
		return errNoHeir
	}
	client, err := t.rest(t.step.Node)
	if err != nil {
		return err
	}
	if err := client.Switchover(ctx, t.step.Node, heir); err != nil {
		return fmt.Errorf("the leader refuses: %w", err)
	}
	return nil
}

// heir returns the node that should lead next: one that follows and, where
// commits wait for a standby, is such a standby.
func (t turn) heir() string {
	sync, _ := t.tables.syncs.Get(t.in.InstanceID)
	best, furthest := "", int64(-1)
	for _, n := range t.heirs() {
		m, _ := t.tables.members.Get(t.in.InstanceID, n.NodeID)
		switch {
		case !m.Value.IsStreaming() || !canLead(m.Value):
		case t.cluster.Synchronous && !sync.Value.Names(n.NodeID):
		case m.Value.XlogLocation > furthest:
			best, furthest = n.NodeID, m.Value.XlogLocation
		}
	}
	return best
}

// canLead reports whether a member may lead at all.
func canLead(m patroni.Member) bool { return m.Tags["nofailover"] != true }

// heirs returns the other nodes of the cluster that are not to go in this plan.
func (t turn) heirs() []state.Node {
	goes := func(id string) bool {
		return slices.ContainsFunc(t.in.Operation.Plan[t.in.Operation.Done:], func(s state.Step) bool {
			return s.Kind == state.RemoveNode && s.Node == id
		})
	}
	return slices.DeleteFunc(slices.Clone(t.cluster.Nodes), func(n state.Node) bool {
		return n.Removed || n.NodeID == t.step.Node || goes(n.NodeID)
	})
}
