package registrar

import (
	"net/netip"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// tables are what a registrar looks at in etcd.
type tables struct {
	clusters      *state.Table[state.Cluster]
	backends      *state.Table[state.Backend]
	hosts         *state.Table[state.Host]
	statuses      *state.Table[state.NodeStatus]
	announcements *state.Table[netip.AddrPort]
	leaders       *state.Table[string]
	members       *state.Table[patroni.Member]
	syncs         *state.Table[patroni.Sync]
	readOnly      *state.Table[bool]
	certificates  *state.Table[state.Certificate]
	// What a copy holds beside the cluster's record. Only that it changes counts.
	copied   []*state.Table[struct{}]
	switches *state.Table[struct{}]
	cordons  *state.Table[struct{}]
}

func newTables(s *state.Schema, image string) tables {
	return tables{
		clusters:      state.Register(s, state.ClusterPattern, state.KeptCluster),
		backends:      state.Register(s, state.BackendPattern, state.JSON[state.Backend]),
		hosts:         state.Register(s, state.HostPattern, state.JSON[state.Host]),
		statuses:      state.Register(s, state.NodeStatusPattern, state.JSON[state.NodeStatus]),
		announcements: state.Register(s, state.AnnouncementPattern(image), announced),
		leaders:       patroni.Leaders(s),
		members:       patroni.Members(s),
		syncs:         patroni.Syncs(s),
		readOnly:      patroni.ReadOnly(s),
		certificates:  state.Register(s, state.CertificatePattern, state.JSON[state.Certificate]),
		copied: []*state.Table[struct{}]{
			state.Register(s, state.InstancePattern, anything), state.Register(s, state.BindingPattern, anything),
			state.Register(s, state.AllocationPattern, anything), state.Register(s, state.ReadOnlyPattern, anything),
			state.Register(s, state.ForwardPattern, anything), state.Register(s, state.InitializePattern, anything),
			state.Register(s, state.ConfigPattern, anything),
		},
		switches: state.Register(s, state.DatasourcePattern, anything),
		cordons:  state.Register(s, state.CordonPattern, anything),
	}
}

// anything decodes what nobody reads here.
func anything([]byte) (struct{}, error) { return struct{}{}, nil }
