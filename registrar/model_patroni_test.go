package registrar

import (
	"context"
	"time"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/state"
)

const (
	// patroniStart is how long Patroni takes from its start to its first look at
	// etcd, at least; see freshness.
	patroniStart  = 300 * time.Millisecond
	patroniLoop   = 500 * time.Millisecond
	patroniAnswer = 5 * time.Second // retry_timeout
)

// modelRun is one run of a node: its container, with Patroni and PostgreSQL.
// The world's mutex guards it.
type modelRun struct {
	*modelNode
	run
	over   bool
	diedAt time.Time
	// frozen is since when the container is, patroniFrozen since when its Patroni.
	frozen, patroniFrozen time.Time
	// leads says that Patroni believes to hold the leader key, primary that
	// PostgreSQL takes writes.
	leads, primary bool
	// upstream is whom PostgreSQL follows, standby whom it waits for before it
	// acknowledges a write: synchronous_standby_names.
	upstream, standby string
	end               context.CancelFunc
}

// patroni is what Patroni does in this run.
func (r *modelRun) patroni(ctx context.Context) {
	staff.Pause(ctx, patroniStart)
	for ctx.Err() == nil {
		r.cycle(ctx)
		staff.Pause(ctx, patroniLoop)
	}
}

// ask has etcd do something, and returns when Patroni is there to take the
// answer.
func (r *modelRun) ask(ctx context.Context, apply func()) bool {
	asking, cancel := context.WithTimeout(ctx, patroniAnswer)
	defer cancel()
	err := r.link.ask(asking, apply)
	for still := true; still && ctx.Err() == nil; {
		r.world.change(func() { still = !r.frozen.IsZero() || !r.patroniFrozen.IsZero() })
		if still {
			staff.Pause(ctx, 10*time.Millisecond)
		}
	}
	return err == nil && ctx.Err() == nil
}

// become changes the node, unless it has died meanwhile.
func (r *modelRun) become(apply func()) {
	r.world.change(func() {
		if !r.over {
			apply()
		}
	})
}

func (r *modelRun) demote() { r.become(func() { r.leads, r.primary, r.standby = false, false, "" }) }

func (r *modelRun) cycle(ctx context.Context) {
	var leader, sync modelKey
	if !r.ask(ctx, func() { leader, sync = r.etcd().get(leaderKey), r.etcd().get(syncKey) }) {
		r.demote()
		return
	}
	leads := false
	r.become(func() { leads = r.leads })
	switch {
	case leader.value == "":
		r.campaign(ctx, sync, "")
	case leader.value != r.name:
		r.demote()
		r.become(func() { r.upstream = leader.value })
	case leads:
		r.keep(ctx)
		r.arrange(ctx, sync)
	default:
		r.campaign(ctx, sync, r.name)
	}
}

// campaign puts the leader key over what was found there: nothing, or its own
// name from before, and promotes if that worked.
func (r *modelRun) campaign(ctx context.Context, sync modelKey, found string) {
	names := modelSyncOf(sync.value)
	if r.world.synchronous && sync.value != "" && names.leader != r.name && names.standby != r.name {
		r.demote()
		return
	}
	won := false
	asked := r.ask(ctx, func() {
		if won = r.etcd().get(leaderKey).value == found; won {
			r.etcd().put(leaderKey, r.name, r, leaderTTL)
		}
	})
	if !asked || !won {
		r.demote()
		return
	}
	r.become(func() { r.leads, r.upstream = true, "" })
	if r.world.synchronous && !r.world.faults.hastyPromotion && !r.writeSync(ctx, sync, "") {
		r.ask(ctx, func() {
			if r.etcd().get(leaderKey).writer == r {
				r.etcd().remove(leaderKey)
			}
		})
		r.demote()
		return
	}
	r.become(func() {
		if r.standby = ""; !r.primary {
			r.primary = true
			r.world.promoted(r.modelNode)
		}
	})
}

// writeSync says who is synchronous, unless another has said something since.
func (r *modelRun) writeSync(ctx context.Context, seen modelKey, standby string) bool {
	done := false
	asked := r.ask(ctx, func() {
		if done = r.etcd().get(syncKey).modified == seen.modified; done {
			r.etcd().put(syncKey, r.name+" "+standby, r, 0)
		}
	})
	return asked && done
}

// keep renews the lease.
func (r *modelRun) keep(ctx context.Context) {
	kept := false
	asked := r.ask(ctx, func() {
		k := r.etcd().get(leaderKey)
		if kept = k.value == r.name; kept && k.writer == r {
			r.etcd().keys[leaderKey].ends = time.Now().Add(leaderTTL)
		}
	})
	if !asked || !kept {
		r.demote()
	}
}

// arrange sees to it that the leader has a standby that is there: one that is
// gone is first taken from the key, then from PostgreSQL; a new one is the other
// way round.
func (r *modelRun) arrange(ctx context.Context, sync modelKey) {
	if !r.world.synchronous {
		return
	}
	var standby string
	var follows, leads bool
	r.world.change(func() {
		leads, standby = r.leads && r.primary, r.standby
		follows = standby != "" && r.world.nodes[standby].follows(r.name)
	})
	names := modelSyncOf(sync.value)
	switch {
	case !leads:
	case standby != "" && !follows:
		if r.writeSync(ctx, sync, "") {
			r.become(func() { r.standby = "" })
		}
	case standby == "":
		r.become(func() { r.standby = r.world.enlist(r.modelNode) })
	case names.leader != r.name || names.standby != standby:
		r.writeSync(ctx, sync, standby)
	}
}

var (
	leaderKey = state.LeaderKey(modelInstance)
	syncKey   = state.SyncKey(modelInstance)
)
