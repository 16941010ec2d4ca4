package router

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// replicas finds out which members of a cluster may serve readers, as far as
// etcd knows.
type replicas struct {
	ports    *state.Table[int]
	clusters *state.Table[placement]
	cordons  *state.Table[string]
	switches *state.Table[string]
}

// placement is what the router needs of a cluster record: where its nodes are,
// by node, and its limit.
type placement struct {
	backends map[string]string
	limit    int
}

func decodePlacement(b []byte) (placement, error) {
	var record struct {
		Nodes []struct {
			NodeID    string `json:"node_id"`
			BackendID string `json:"backend_id"`
		} `json:"nodes"`
		MaxSessions int `json:"max_sessions"`
	}
	if err := json.Unmarshal(b, &record); err != nil {
		return placement{}, err
	}
	p := placement{backends: map[string]string{}, limit: record.MaxSessions}
	for _, n := range record.Nodes {
		p.backends[n.NodeID] = n.BackendID
	}
	return p, nil
}

func newReplicas(schema *state.Schema) *replicas {
	return &replicas{
		ports:    state.Register(schema, state.ReadOnlyPattern, state.Integer),
		clusters: state.Register(schema, state.ClusterPattern, decodePlacement),
		cordons:  state.Register(schema, state.CordonPattern, state.Text),
		switches: state.Register(schema, state.DatasourcePattern, state.Text),
	}
}

// touched adds the instances whose replicas may have changed.
func (s *replicas) touched(ids map[string]struct{}) {
	for params := range s.ports.Changed() {
		ids[params[0]] = struct{}{}
	}
	for params := range s.clusters.Changed() {
		ids[params[0]] = struct{}{}
	}
	for params := range s.switches.Changed() {
		// An instance's id may have dots, the name of a node has none.
		if i := strings.LastIndexByte(params[0], '.'); i > 0 {
			ids[params[0][:i]] = struct{}{}
		}
	}
	for range s.cordons.Changed() {
		// Rare, and any instance may have nodes there.
		for e := range s.ports.All() {
			ids[e.Params[0]] = struct{}{}
		}
		return
	}
}

// look returns the limit of an instance, and what its readers may be given.
func (s *replicas) look(id, leader string, members *state.Table[patroni.Member]) (limit int, r reads) {
	cluster, _ := s.clusters.Get(id)
	limit = cluster.Value.limit
	port, ok := s.ports.Get(id)
	if !ok || port.Value < 1 || port.Value > 65535 {
		return limit, reads{}
	}
	r.port = port.Value
	for e := range members.Under(id) {
		name, m := e.Params[1], e.Value
		addr, err := m.Addr()
		if err != nil || name == leader || !follows(m) {
			continue
		}
		off := s.isOff(id, name, cluster.Value.backends[name])
		r.replicas = append(r.replicas, replica{Member: name, Addr: addr, API: m.APIURL, Off: off})
	}
	slices.SortFunc(r.replicas, func(a, b replica) int { return cmp.Compare(a.Member, b.Member) })
	return limit, r
}

// follows reports whether a member says that it streams from its leader. What it
// does not say is asked of it before it is given readers.
func follows(m patroni.Member) bool {
	return m.IsStreaming() || m.IsRunning() && !m.IsPrimary() && m.ReplicationState == ""
}

// isOff reports whether an operator has switched a node or its backend off.
func (s *replicas) isOff(id, node, backend string) bool {
	if e, ok := s.cordons.Get(backend); ok && state.IsDisabled(e.Value) {
		return true
	}
	e, ok := s.switches.Get(id + "." + node)
	return ok && state.IsDisabled(e.Value)
}
