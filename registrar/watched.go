package registrar

import (
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/registrar/watchdog"
	"github.com/pgpatron/pgpatron/state"
)

// newWatchdog returns the watchdog over this backend's nodes.
func (r *Registrar) newWatchdog(client *clientv3.Client) *watchdog.Watchdog {
	b := &biter{
		etcd: client, docker: r.docker, backend: r.backend, refresh: r.lookAt, log: r.log,
		bites: newBites(r.cfg.Registerer, r.backend),
	}
	return watchdog.New(watchdog.Config{Patience: r.cfg.FenceAfter, Office: r.office, Bite: b.bite, Log: r.log})
}

// watch gives the watchdog the nodes that run here and are meant to.
func (r *Registrar) watch(docker snapshot) {
	targets := map[string]watchdog.Target{}
	for node, c := range docker.running {
		g, placed := r.desired.nodes[node]
		if !placed || g.want != wantRunning {
			continue
		}
		targets[node] = watchdog.Target{
			Instance: g.instance, Node: node, Started: c.startedAt, Container: c.id, PID: c.pid,
			SQL: c.addrs[patroni.PostgreSQLPort].String(), API: "http://" + c.addrs[patroni.RESTPort].String(),
			Login: g.cluster.AdminCredentials, Spare: g.cluster.SpareAdmin, Database: g.cluster.Database, Synchronous: g.cluster.Synchronous,
		}
	}
	r.watchdog.Follow(targets)
}

// office tells who leads the cluster of one of our nodes.
func (r *Registrar) office(t watchdog.Target) (o watchdog.Office) {
	o.Known = r.current.Load() && r.engine.Held() == nil
	c, _, _ := r.inventory.container(t.Node)
	o.Stopping = r.crew.stopping(t.Node) || !c.running
	o.Candidate = r.crew.picture.hasCandidate(state.Cluster{InstanceID: t.Instance, Synchronous: t.Synchronous}, t.Node, death{at: time.Now()})
	r.engine.View(func() {
		leader, there := r.tables.leaders.Get(t.Instance)
		o.Leads = there && leader.Value == t.Node
		o.Led = there && leader.Value != t.Node
	})
	return o
}
