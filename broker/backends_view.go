package broker

import (
	"context"
	"maps"
	"slices"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

// Backends returns every backend that is registered or was, is cordoned, or has
// nodes.
func (o operator) Backends(context.Context) ([]admin.Backend, error) {
	var list []admin.Backend
	o.engine.View(func() { list = o.tables.backendList() })
	return list, nil
}

// Backend returns one backend.
func (o operator) Backend(_ context.Context, id string) (admin.Backend, error) {
	var shown *admin.Backend
	o.engine.View(func() { shown = o.tables.backendViews()[id] })
	if shown == nil {
		return admin.Backend{}, admin.NotFound("backend", id)
	}
	return *shown, nil
}

// backendList shows the backends, by id. Call it in View.
func (t *tables) backendList() []admin.Backend {
	all := t.backendViews()
	list := []admin.Backend{}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		list = append(list, *all[id])
	}
	return list
}

// backendViews shows the backends by id. Call it in View.
func (t *tables) backendViews() map[string]*admin.Backend {
	all := map[string]*admin.Backend{}
	of := func(id string) *admin.Backend {
		if all[id] == nil {
			all[id] = &admin.Backend{ID: id, Status: state.BackendUnreachable}
		}
		return all[id]
	}
	for _, b := range state.Backends(t.backends, t.hosts) {
		shown := of(b.ID)
		shown.Hostname, shown.Zone, shown.DockerVersion, shown.Status = b.Hostname, b.Zone, b.DockerVersion, b.Status
		if b.Status == state.BackendUnreachable {
			shown.LastSeen = b.LastSeen
		}
	}
	for c := range t.clusters.All() {
		leader, _ := t.leaders.Get(c.Value.InstanceID)
		for _, n := range c.Value.Nodes {
			shown := of(n.BackendID)
			shown.Nodes++
			if n.NodeID == leader.Value {
				shown.Leaders++
			}
		}
	}
	for c := range t.cordons.All() {
		sw := t.switchView(state.Switch{Kind: state.BackendSwitch, Name: c.Params[0]})
		shown := of(c.Params[0])
		shown.Cordoned, shown.Since, shown.By, shown.Reason = sw.Disabled, sw.Since, sw.By, sw.Reason
	}
	for dr := range t.drains.All() {
		shown := of(dr.Value.BackendID)
		shown.Drain = &admin.Drain{
			State: string(dr.Value.State), Started: dr.Value.Started, Updated: dr.Value.Updated,
			Left: shown.Nodes, Problems: dr.Value.Problems,
		}
	}
	return all
}
