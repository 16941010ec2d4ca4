package registrar

import (
	"context"
	"time"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// Patience of a dead leader's node before it is started again. A node that
// comes back too early wins the election it should have lost, or meets a new
// leader that it can not rewind to yet, and sleeps.
const (
	electionPatience   = 3 * time.Second
	checkpointPatience = 3 * time.Second
)

// patience is how long a dead leader's node waits for another to lead, and then
// for that one's first checkpoint.
type patience struct{ election, checkpoint time.Duration }

// picture is what etcd holds of clusters, as far as rejoining needs it.
type picture struct {
	engine   *state.Engine
	leaders  *state.Table[string]
	members  *state.Table[patroni.Member]
	syncs    *state.Table[patroni.Sync]
	patience patience
	// fell reports whether a node is known, from this host, to have died at
	// about that time, too. A member's own word outlives it by its TTL.
	fell func(node string, at time.Time) bool
}

// awaitSuccessor holds a dead node back until its cluster is ready for it, or
// patience ends. v is how its fencing ended.
func (p picture) awaitSuccessor(ctx context.Context, cluster state.Cluster, node string, d death, v verdict) {
	if v == unsettled || v == alive {
		return
	}
	if v != elsewhere {
		if !p.hasCandidate(cluster, node, d) {
			return // nobody else can lead: every moment counts
		}
		if !p.await(ctx, p.patience.election, func() bool { return p.ledByOther(cluster.InstanceID, node) }) {
			return
		}
	}
	p.await(ctx, p.patience.checkpoint, func() bool { return p.canRewindTo(cluster.InstanceID, node) })
}

func (p picture) await(ctx context.Context, patience time.Duration, cond func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return p.engine.Await(ctx, cond) == nil
}

// hasCandidate reports whether another member can take over: one that follows
// synchronously where writes are only acknowledged by such, any that runs
// otherwise.
func (p picture) hasCandidate(cluster state.Cluster, node string, d death) (found bool) {
	p.engine.View(func() {
		sync, _ := p.syncs.Get(cluster.InstanceID)
		for m := range p.members.Under(cluster.InstanceID) {
			name := m.Params[1]
			if name == node || !m.Value.IsRunning() || p.fell(name, d.at) {
				continue
			}
			if !cluster.Synchronous || sync.Value.Names(name) {
				found = true
			}
		}
	})
	return found
}

// ledByOther reports whether another member than node holds the leader key.
func (p picture) ledByOther(instance, node string) bool {
	leader, ok := p.leaders.Get(instance)
	return ok && leader.Value != node
}

// canRewindTo reports whether another member leads and is past the checkpoint
// that follows its promotion. That it says so itself shows that it is promoted:
// a member tells nothing of a checkpoint before.
func (p picture) canRewindTo(instance, node string) bool {
	leader, ok := p.leaders.Get(instance)
	if !ok || leader.Value == node {
		return false
	}
	m, ok := p.members.Get(instance, leader.Value)
	return ok && m.Value.IsPrimary() && m.Value.PastCheckpoint()
}
