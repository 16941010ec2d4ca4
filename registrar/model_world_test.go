package registrar

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const modelInstance = "db"

// modelFaults are mistakes that the model has to find.
type modelFaults struct {
	// byCreation makes the fencer compare create revisions.
	byCreation bool
	// blind makes every inspection say that the run that was asked for is over.
	blind bool
	// fresh is how old an event may be and still prove a death.
	fresh time.Duration
	// noFence leaves dead leaders' keys to their leases, noWindow kills without a
	// claim.
	noFence, noWindow bool
	// hastyPromotion promotes without a word in /sync.
	hastyPromotion bool
}

// modelWorld is a cluster of three nodes on three hosts, with one etcd.
type modelWorld struct {
	ctx         context.Context
	running     *sync.WaitGroup
	synchronous bool
	// strict says that two writers at a time are never excused.
	strict bool
	faults modelFaults
	// calm makes every message quick and certain.
	calm atomic.Bool

	// mu guards the rest.
	mu    sync.Mutex
	etcd  modelEtcd
	nodes map[string]*modelNode
	// acked is how many writes were acknowledged.
	acked int
	// lastBite is when which leader was killed last.
	lastBite   time.Time
	lastBitten string
	// broken is the first thing seen that must never be.
	broken error
}

// modelNode is what stays of a node from run to run.
type modelNode struct {
	world   *modelWorld
	name    string
	link    *modelLink // its Patroni's
	host    *modelHost
	current *modelRun
	// wrote is how many writes its data holds.
	wrote int
}

func newModelWorld(ctx context.Context, p modelPlay, faults modelFaults) *modelWorld {
	w := &modelWorld{
		ctx: ctx, running: &sync.WaitGroup{}, synchronous: p.Synchronous, strict: p.Synchronous || !p.freezes(), faults: faults,
		etcd: modelEtcd{keys: map[string]*modelKey{}}, nodes: map[string]*modelNode{},
	}
	for i := range 3 {
		n := &modelNode{world: w, name: modelName(i), link: &modelLink{world: w, fates: p.Fates}}
		n.link.next.Store(int64(i * 7))
		n.current = &modelRun{modelNode: n, over: true}
		n.host = &modelHost{modelNode: n, link: &modelLink{world: w, fates: p.Fates}}
		n.host.link.next.Store(int64(i * 5))
		w.nodes[n.name] = n
	}
	return w
}

func modelName(i int) string { return fmt.Sprintf("n%d", i) }

// change does something in one moment, and looks whether all is well then.
func (w *modelWorld) change(apply func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	apply()
	var writers []string
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		if w.nodes[name].current.acknowledges() {
			writers = append(writers, name)
		}
	}
	if len(writers) > 1 && w.strict {
		w.fail("%v acknowledge writes at the same time", writers)
	}
}

func (w *modelWorld) fail(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
}

// write has whoever takes writes acknowledge one.
func (w *modelWorld) write() {
	for _, n := range w.nodes {
		if !n.current.acknowledges() {
			continue
		}
		w.acked++
		n.wrote = w.acked
		if standby, waits := w.nodes[n.current.standby]; waits {
			standby.wrote = w.acked
		}
	}
}

// fenced is told of a leader key that the registrar deletes.
func (w *modelWorld) fenced(k modelKey) {
	holder := w.nodes[k.value].current
	if k.writer != nil && !k.writer.over || !holder.over && holder.leads {
		w.fail("a fence deleted the leader key of %s, which lives", k.value)
	}
}

// bitten is told of a leader that the watchdog kills.
func (w *modelWorld) bitten(n *modelNode) {
	if w.lastBitten != "" && w.lastBitten != n.name && time.Since(w.lastBite) < fenceWindow-2*fenceTimeout {
		w.fail("%s was killed %v after %s", n.name, time.Since(w.lastBite), w.lastBitten)
	}
	w.lastBitten, w.lastBite = n.name, time.Now()
}

// promoted is told of a node that begins to take writes.
func (w *modelWorld) promoted(n *modelNode) {
	if w.synchronous && n.wrote < w.acked {
		w.fail("%s leads with %d of %d acknowledged writes", n.name, n.wrote, w.acked)
	}
}

// enlist returns a node that follows the leader and has all that it has, or "".
func (w *modelWorld) enlist(leader *modelNode) string {
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		if n := w.nodes[name]; n != leader && n.follows(leader.name) {
			n.wrote = leader.wrote
			return name
		}
	}
	return ""
}

// ledByLiving reports whether the leader key is of a node that takes writes.
func (w *modelWorld) ledByLiving() bool {
	n, held := w.nodes[w.etcd.get(leaderKey).value]
	return held && n.current.acknowledges()
}

// freeOfTheDead reports whether the leader key is not of a run that is over.
func (w *modelWorld) freeOfTheDead() bool {
	k := w.etcd.get(leaderKey)
	return k.writer == nil || !k.writer.over
}

func (n *modelNode) etcd() *modelEtcd { return &n.world.etcd }

// follows reports whether the node's server streams from the leader.
func (n *modelNode) follows(leader string) bool {
	r := n.current
	return !r.over && r.frozen.IsZero() && !r.primary && r.upstream == leader
}

// boot starts the container, unless it runs.
func (n *modelNode) boot() {
	n.world.change(func() {
		if !n.current.over {
			return
		}
		ctx, cancel := context.WithCancel(n.world.ctx)
		r := &modelRun{modelNode: n, run: run{id: "container of " + n.name, startedAt: time.Now()}, end: cancel}
		n.current = r
		n.world.running.Go(func() { r.patroni(ctx) })
	})
}

// die ends the run. Call it in a change.
func (r *modelRun) die() {
	if r.over {
		return
	}
	r.over, r.diedAt = true, time.Now()
	r.leads, r.primary = false, false
	r.end()
}

// acknowledges reports whether a write at this node would be acknowledged.
func (r *modelRun) acknowledges() bool {
	if r.over || !r.frozen.IsZero() || !r.primary {
		return false
	}
	return r.standby == "" || r.world.nodes[r.standby].follows(r.name)
}

// modelSync is Patroni's /sync.
type modelSync struct{ leader, standby string }

func modelSyncOf(value string) modelSync {
	leader, standby, _ := strings.Cut(value, " ")
	return modelSync{leader, standby}
}
