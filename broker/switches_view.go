package broker

import (
	"context"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

// Routers returns the routers that are registered, by id.
func (o operator) Routers(context.Context) ([]admin.Router, error) {
	var list []admin.Router
	o.engine.View(func() { list = o.tables.routerViews() })
	return list, nil
}

func (t *tables) routerViews() []admin.Router {
	list := []admin.Router{}
	for r := range t.routers.Switches.All() {
		list = append(list, t.routerView(r.Params[0]))
	}
	slices.SortFunc(list, func(a, b admin.Router) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// router shows one router.
func (o operator) router(id string) (shown admin.Router) {
	o.engine.View(func() { shown = o.tables.routerView(id) })
	return shown
}

func (t *tables) routerView(id string) admin.Router {
	key, _ := t.routers.Switches.Get(id)
	return admin.Router{ID: id, Running: key.Lease != clientv3.NoLease, Switch: t.switchView(state.Switch{Kind: state.RouterSwitch, Name: id})}
}

// switchView shows where a switch is and what is known of it.
func (t *tables) switchView(sw state.Switch) admin.Switch {
	value, _ := t.switchValue(sw)
	if !state.IsDisabled(value) {
		return admin.Switch{}
	}
	known, _ := t.switched.Get(string(sw.Kind), sw.Name)
	return admin.Switch{Disabled: true, Since: known.Value.At, By: known.Value.By, Reason: known.Value.Reason}
}

// switchValue returns the value of a switch, and whether it has one.
func (t *tables) switchValue(sw state.Switch) (string, bool) {
	table := t.cordons
	switch sw.Kind {
	case state.RouterSwitch:
		table = t.routers.Switches
	case state.ReplicaSwitch:
		table = t.datasources
	}
	e, there := table.Get(sw.Name)
	return e.Value, there
}

// Replicas returns the nodes that do not lead, of one instance or of all, and
// every other node that is disabled, by id.
func (o operator) Replicas(_ context.Context, instance string) ([]admin.Replica, error) {
	list := []admin.Replica{}
	o.engine.View(func() {
		seen := map[string]bool{}
		add := func(sw state.Switch) {
			id, _ := sw.Replica()
			if seen[sw.Name] || instance != "" && id != instance {
				return
			}
			seen[sw.Name] = true
			if r := o.tables.replicaView(sw); r.Role != admin.Leader || r.Disabled {
				list = append(list, r)
			}
		}
		for c := range o.tables.clusters.All() {
			for _, n := range c.Value.Nodes {
				add(state.ReplicaSwitchOf(c.Value.InstanceID, n.NodeID))
			}
		}
		for d := range o.tables.datasources.All() {
			if state.IsDisabled(d.Value) {
				add(state.Switch{Kind: state.ReplicaSwitch, Name: d.Params[0]})
			}
		}
	})
	slices.SortFunc(list, func(a, b admin.Replica) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// replica shows one node as far as reads are concerned.
func (o operator) replica(sw state.Switch) (shown admin.Replica) {
	o.engine.View(func() { shown = o.tables.replicaView(sw) })
	return shown
}

func (t *tables) replicaView(sw state.Switch) admin.Replica {
	instance, node := sw.Replica()
	shown := admin.Replica{ID: sw.Name, Instance: instance, Node: node, Switch: t.switchView(sw), Role: admin.NoNode}
	cluster, _ := t.clusters.Get(instance)
	n, there := cluster.Value.Node(node)
	if !there {
		return shown
	}
	leader, _ := t.leaders.Get(instance)
	member, _ := t.members.Get(instance, node)
	shown.Backend, shown.State, shown.Streaming, shown.Role = n.BackendID, member.Value.State, member.Value.IsStreaming(), admin.Follower
	shown.BackendDisabled = t.switchView(state.Switch{Kind: state.BackendSwitch, Name: n.BackendID}).Disabled
	if leader.Value == node {
		shown.Role = admin.Leader
		return shown
	}
	shown.Lag = t.lag(instance, leader.Value, node)
	return shown
}

// lag returns how many bytes of WAL a replica is behind, by what the members say
// of themselves every few seconds; nil if they say nothing.
func (t *tables) lag(instance, leader, node string) *int64 {
	ahead, leads := t.members.Get(instance, leader)
	behind, follows := t.members.Get(instance, node)
	if !leads || !follows || ahead.Value.XlogLocation == 0 || behind.Value.XlogLocation == 0 {
		return nil
	}
	lag := max(0, ahead.Value.XlogLocation-behind.Value.XlogLocation)
	return &lag
}
