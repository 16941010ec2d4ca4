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
	hosts     *state.Table[state.Host]
	routers   *state.Routers
	cordons   *state.Table[string]
	// datasources are the switches of single nodes, switched what is known of
	// the switches that are off.
	datasources *state.Table[string]
	switched    *state.Table[state.Switched]
	drains      *state.Table[state.Drain]
	nodes       *state.Table[state.NodeStatus]
	leaders     *state.Table[string]
	members     *state.Table[patroni.Member]
	syncs       *state.Table[patroni.Sync]
	unbound     *state.Table[string]
	// containers are definitions of the registry: those of plans have the plan's id.
	containers *state.Table[state.PlanContainer]
	// planCounts are the counters of instances, by plan.
	planCounts *state.Table[int]
	// fences are the last of each instance, events the log of the site, and told
	// what that has been told.
	fences *state.Table[state.Fence]
	events *state.Table[state.Event]
	told   *state.Table[state.Told]
	// moves are what this site and others say of instances that move, forwards the
	// ports that do not lead where they usually do.
	moves    *state.Table[state.MoveNote]
	forwards *state.Table[state.Forward]
	// losses are the backends that know more of the site than etcd does.
	losses *state.Table[state.Loss]
	// format is the version of the site's records.
	format *state.Format
	// siteCA is who signs the nodes' certificates.
	siteCA       *state.Table[state.SiteCA]
	certificates *state.Table[state.Certificate]
}

func newTables(s *state.Schema) *tables {
	s.Watch("/routing/")
	return &tables{
		loads:        newLoads(),
		instances:    state.Register(s, state.InstancePattern, state.JSON[state.Instance]),
		bindings:     state.Register(s, state.BindingPattern, state.JSON[state.Binding]),
		clusters:     state.Register(s, state.ClusterPattern, state.JSON[state.Cluster]),
		backends:     state.Register(s, state.BackendPattern, state.JSON[state.Backend]),
		hosts:        state.Register(s, state.HostPattern, state.JSON[state.Host]),
		routers:      state.NewRouters(s),
		drains:       state.Register(s, state.DrainPattern, state.JSON[state.Drain]),
		cordons:      state.Register(s, state.CordonPattern, state.Text),
		datasources:  state.Register(s, state.DatasourcePattern, state.Text),
		switched:     state.Register(s, state.SwitchedPattern, state.JSON[state.Switched]),
		nodes:        state.Register(s, state.NodeStatusPattern, state.JSON[state.NodeStatus]),
		leaders:      patroni.Leaders(s),
		members:      patroni.Members(s),
		syncs:        patroni.Syncs(s),
		containers:   state.Register(s, state.DefinitionPattern, state.JSON[state.PlanContainer]),
		unbound:      state.Register(s, state.UnboundPattern, state.Text),
		planCounts:   state.Register(s, state.PlanCountPattern, state.Integer),
		fences:       state.Register(s, state.FencePattern, state.JSON[state.Fence]),
		events:       state.Register(s, state.EventPattern, state.JSON[state.Event]),
		told:         state.Register(s, state.ToldPattern, state.JSON[state.Told]),
		moves:        state.Register(s, state.FederationMovePattern, state.JSON[state.MoveNote]),
		forwards:     state.Register(s, state.ForwardPattern, state.JSON[state.Forward]),
		siteCA:       state.Register(s, state.SiteCAPattern, state.JSON[state.SiteCA]),
		certificates: state.Register(s, state.CertificatePattern, state.JSON[state.Certificate]),
		losses:       state.Register(s, state.LossPattern, state.JSON[state.Loss]),
		format:       state.NewFormat(s),
	}
}

// image returns the image of a plan's new nodes: that of its container in the
// registry, or else the other one.
func (t *tables) image(plan, otherwise string) string {
	container, _ := t.containers.Get(plan)
	return container.Value.ImageOr(otherwise)
}

// addressOf returns where a backend is reached, or was when it was last seen; empty
// if it is not known.
func (t *tables) addressOf(backend string) string {
	if b, registered := t.backends.Get(backend); registered {
		return b.Value.Address
	}
	host, _ := t.hosts.Get(backend)
	return host.Value.Address
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
