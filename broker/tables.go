package broker

import (
	"errors"

	"github.com/pgpatron/pgpatron/broker/planner"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// tables are the broker's picture of etcd.
type tables struct {
	// loads counts the nodes on each backend.
	loads *loads

	instances *state.Table[state.Instance]
	bindings  *state.Table[state.Binding]
	clusters  *state.Table[state.Cluster]
	backends  *state.Table[state.Backend]
	cordons   *state.Table[string]
	drains    *state.Table[state.Drain]
	nodes     *state.Table[state.NodeStatus]
	leaders   *state.Table[string]
	members   *state.Table[patroni.Member]
	syncs     *state.Table[patroni.Sync]
	unbound   *state.Table[string]
	// planCounts are the counters of instances, by plan.
	planCounts *state.Table[int]
	// moves are what this site and others say of instances that move, forwards the
	// ports that do not lead where they usually do.
	moves    *state.Table[state.MoveNote]
	forwards *state.Table[state.Forward]
}

func newTables(s *state.Schema) *tables {
	s.Watch("/routing/")
	return &tables{
		loads:      newLoads(),
		instances:  state.Register(s, state.InstancePattern, state.JSON[state.Instance]),
		bindings:   state.Register(s, state.BindingPattern, state.JSON[state.Binding]),
		clusters:   state.Register(s, state.ClusterPattern, state.JSON[state.Cluster]),
		backends:   state.Register(s, state.BackendPattern, state.JSON[state.Backend]),
		drains:     state.Register(s, state.DrainPattern, state.JSON[state.Drain]),
		cordons:    state.Register(s, state.CordonPattern, state.Text),
		nodes:      state.Register(s, state.NodeStatusPattern, state.JSON[state.NodeStatus]),
		leaders:    patroni.Leaders(s),
		members:    patroni.Members(s),
		syncs:      patroni.Syncs(s),
		unbound:    state.Register(s, state.UnboundPattern, state.Text),
		planCounts: state.Register(s, state.PlanCountPattern, state.Integer),
		moves:      state.Register(s, state.FederationMovePattern, state.JSON[state.MoveNote]),
		forwards:   state.Register(s, state.ForwardPattern, state.JSON[state.Forward]),
	}
}

// fleet returns the backends as they are now.
func (t *tables) fleet(share bool) planner.Fleet {
	f := planner.Fleet{Cordoned: map[string]bool{}, Load: t.loads.counts(), Share: share}
	for b := range t.backends.All() {
		f.Backends = append(f.Backends, b.Value)
	}
	for c := range t.cordons.All() {
		f.Cordoned[c.Params[0]] = state.IsDisabled(c.Value)
	}
	return f
}

// picture is what a plan for a cluster starts from. The transaction depends on
// who leads and who follows synchronously.
func (t *tables) picture(tx *state.Tx, cluster state.Cluster, share bool) (planner.Picture, error) {
	leader, _, errLeader := state.Load(tx, state.LeaderKey(cluster.InstanceID), state.Text)
	sync, _, errSync := state.Load(tx, state.SyncKey(cluster.InstanceID), state.JSON[patroni.Sync])
	return planner.Picture{Cluster: cluster, Leader: leader, Sync: sync, Fleet: t.fleet(share)}, errors.Join(errLeader, errSync)
}
