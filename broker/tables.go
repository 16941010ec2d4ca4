package broker

import (
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// tables are the broker's picture of etcd.
type tables struct {
	instances *state.Table[state.Instance]
	bindings  *state.Table[state.Binding]
	clusters  *state.Table[state.Cluster]
	// planCounts are the counters of instances, by plan.
	planCounts *state.Table[int]
	backends   *state.Table[state.Backend]
	nodes      *state.Table[state.NodeStatus]
	leaders    *state.Table[string]
	members    *state.Table[patroni.Member]
	unbound    *state.Table[string]
}

func newTables(s *state.Schema) *tables {
	s.Watch("/routing/")
	return &tables{
		instances:  state.Register(s, state.InstancePattern, state.JSON[state.Instance]),
		bindings:   state.Register(s, state.BindingPattern, state.JSON[state.Binding]),
		clusters:   state.Register(s, state.ClusterPattern, state.JSON[state.Cluster]),
		planCounts: state.Register(s, state.PlanCountPattern, state.Integer),
		backends:   state.Register(s, state.BackendPattern, state.JSON[state.Backend]),
		nodes:      state.Register(s, state.NodeStatusPattern, state.JSON[state.NodeStatus]),
		leaders:    patroni.Leaders(s),
		members:    patroni.Members(s),
		unbound:    state.Register(s, state.UnboundPattern, state.Text),
	}
}

// place chooses backends for a plan by what is registered and placed now.
func (t *tables) place(plan Plan, share bool) ([]string, error) {
	var backends []state.Backend
	for b := range t.backends.All() {
		backends = append(backends, b.Value)
	}
	load := map[string]int{}
	for c := range t.clusters.All() {
		for _, n := range c.Value.Nodes {
			load[n.BackendID]++
		}
	}
	return place(plan, backends, load, share)
}
