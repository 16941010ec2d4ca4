package patroni

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// waker shortens what a cluster waits for its leader. Patroni follows the
// leader key by a watch, but looks at what the members tell only once in a
// loop_wait. Until then a new replica has no replication slot and a synchronous
// cluster no standby; and if the standby died, no commit returns. The waker
// watches the members and, where this node leads, has Patroni look at once.
// Everything works without it, only later.
type waker struct {
	node    NodeConfig
	engine  *state.Engine
	leaders *state.Table[string]
	members *state.Table[Member]
	// wake has this node's Patroni look.
	wake func(context.Context) error
	log  *slog.Logger
}

// newWaker returns a waker for node. It has an engine of its own, because an
// engine watches all that lies between its keys, and the announcements lie far
// from the members.
func newWaker(node NodeConfig, etcd *clientv3.Client, wake func(context.Context) error, log *slog.Logger) (*waker, error) {
	schema := state.NewSchema()
	w := &waker{
		node:    node,
		leaders: state.Register(schema, state.LeaderKey(node.InstanceID), state.Text),
		members: state.Register(schema, state.ClusterPrefix(node.InstanceID)+"members/{name}", state.JSON[Member]),
		wake:    wake,
		log:     log,
	}
	var err error
	w.engine, err = state.NewEngine(state.EngineConfig{Client: etcd, Schema: schema, Name: "waker", Log: log})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Run wakes Patroni until ctx ends.
func (w *waker) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { w.follow(ctx) })
	return w.engine.Run(ctx)
}

func (w *waker) follow(ctx context.Context) {
	var seen, now view
	for {
		err := w.engine.Await(ctx, func() bool {
			now = w.look()
			return now.term != 0 && now != seen
		})
		if err != nil {
			return
		}
		seen = now
		if err := w.wake(ctx); err != nil && ctx.Err() == nil {
			w.log.DebugContext(ctx, "waking patroni", "err", err)
		}
	}
}

// awaitLeaderSet waits until the leader tells that its server has other logins than
// those of the set, and calls note with theirs. While nobody leads, what was last
// told counts.
func (w *waker) awaitLeaderSet(ctx context.Context, known int, note func(set int)) error {
	return w.engine.Await(ctx, func() bool {
		set, led := w.leaderSet()
		if !led || set == known {
			return false
		}
		note(set)
		return true
	})
}

// leaderSet returns the set of the logins that the leader's server has, noSet if it
// does not say, and whether anybody leads.
func (w *waker) leaderSet() (set int, led bool) {
	leader, led := w.leaders.Get()
	if !led {
		return noSet, false
	}
	m, _ := w.members.Get(leader.Value)
	set, known := m.Value.PasswordSet()
	if !known {
		set = noSet
	}
	return set, true
}

// loaded waits until the picture is there, and calls note with what leaderSet says.
func (w *waker) loaded(ctx context.Context, note func(set int)) error {
	return w.engine.Await(ctx, func() bool {
		set, _ := w.leaderSet()
		note(set)
		return true
	})
}

// leadsSeveral reports whether this node leads at least two others that follow it.
func (w *waker) leadsSeveral() (several bool) {
	w.engine.View(func() {
		leader, ok := w.leaders.Get()
		if !ok || leader.Value != w.node.NodeID {
			return
		}
		followers := 0
		for m := range w.members.All() {
			if m.Params[0] != w.node.NodeID && m.Value.IsStreaming() {
				followers++
			}
		}
		several = followers > 1
	})
	return several
}

// view is what matters to a leader of what etcd says.
type view struct {
	// term is the leader key's revision if this node leads, 0 otherwise.
	term int64
	// others is what the other members are about.
	others string
}

func (w *waker) look() view {
	leader, ok := w.leaders.Get()
	if !ok || leader.Value != w.node.NodeID {
		return view{}
	}
	var others []string
	for m := range w.members.All() {
		if name := m.Params[0]; name != w.node.NodeID {
			nosync := m.Value.Tags["nosync"]
			others = append(others, fmt.Sprint(name, m.Value.State, m.Value.Role, m.Value.ReplicationState, nosync))
		}
	}
	slices.Sort(others)
	return view{term: leader.ModRevision, others: strings.Join(others, "\n")}
}
