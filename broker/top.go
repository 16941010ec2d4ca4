package broker

import (
	"cmp"
	"context"
	"iter"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

// topPause is the least time between two looks at a site: nobody reads faster.
const topPause = 250 * time.Millisecond

// Top returns how the site is.
func (o operator) Top(ctx context.Context, limit int) (admin.Top, error) {
	for top := range o.FollowTop(ctx, limit) {
		return top, nil
	}
	return admin.Top{}, context.Cause(ctx)
}

// FollowTop returns how the site is, again whenever it is another way.
func (o operator) FollowTop(ctx context.Context, limit int) iter.Seq2[admin.Top, error] {
	return func(yield func(admin.Top, error) bool) {
		var last admin.Top
		for revision, top := range following(ctx, o.engine, topPause, func() admin.Top { return o.topView(limit) }) {
			if last.Revision != 0 && reflect.DeepEqual(top, withoutRevision(last)) {
				continue
			}
			top.Revision = revision
			last = top
			if !yield(top, nil) {
				return
			}
		}
	}
}

func withoutRevision(top admin.Top) admin.Top {
	top.Revision = 0
	return top
}

// topView shows the site. Call it in View.
func (o operator) topView(limit int) admin.Top {
	top := admin.Top{Clusters: []admin.Cluster{}, Routers: o.tables.routerViews(), Backends: o.tables.backendList()}
	disabled := o.tables.disabledReplicas()
	for c := range o.tables.clusters.All() {
		shown := o.clusterView(c.Value)
		shown.Disabled = disabled[shown.ID]
		if shown.Leader == "" {
			top.Leaderless++
		}
		top.Clusters = append(top.Clusters, shown)
	}
	top.Instances = len(top.Clusters)
	slices.SortFunc(top.Clusters, troubledFirst)
	if limit > 0 {
		top.Clusters = top.Clusters[:min(limit, len(top.Clusters))]
	}
	return top
}

func troubledFirst(a, b admin.Cluster) int {
	return cmp.Or(urgency(b)-urgency(a), strings.Compare(a.ID, b.ID))
}

// urgency is the greater, the sooner an operator should look.
func urgency(c admin.Cluster) int {
	switch {
	case c.Leader == "":
		return 2
	case c.Trouble():
		return 1
	}
	return 0
}

// disabledReplicas returns the nodes that are switched off, by instance.
func (t *tables) disabledReplicas() map[string][]admin.Replica {
	off := map[string][]admin.Replica{}
	for d := range t.datasources.All() {
		if !state.IsDisabled(d.Value) {
			continue
		}
		r := t.replicaView(state.Switch{Kind: state.ReplicaSwitch, Name: d.Params[0]})
		off[r.Instance] = append(off[r.Instance], r)
	}
	for _, list := range off {
		slices.SortFunc(list, func(a, b admin.Replica) int { return strings.Compare(a.ID, b.ID) })
	}
	return off
}

func (o operator) clusterView(c state.Cluster) admin.Cluster {
	leader, _ := o.tables.leaders.Get(c.InstanceID)
	told, _ := o.tables.told.Get(c.InstanceID)
	shown := admin.Cluster{
		ID: c.InstanceID, Plan: o.planName(c.PlanID), Port: c.AllocatedPort, Leader: leader.Value, Failover: told.Value.Failover,
	}
	for _, n := range c.Nodes {
		switch {
		case n.NodeID == leader.Value:
			shown.LeaderBackend = n.BackendID
			continue
		case n.Removed:
			continue
		}
		shown.Replicas++
		if m, _ := o.tables.members.Get(c.InstanceID, n.NodeID); m.Value.IsStreaming() {
			shown.Streaming++
		}
		if lag := o.tables.lag(c.InstanceID, leader.Value, n.NodeID); lag != nil && (shown.Lag == nil || *lag > *shown.Lag) {
			shown.Lag = lag
		}
	}
	if in, _ := o.tables.instances.Get(c.InstanceID); in.Value.Operation.Running() {
		shown.Operation = string(in.Value.Operation.Type) + ": " + in.Value.Operation.Description
	}
	return shown
}

// planName returns the name of a plan, or the id of one that is no longer
// offered.
func (o operator) planName(id string) string {
	if plan, ok := o.cfg.plan(id); ok {
		return plan.Name
	}
	return id
}
