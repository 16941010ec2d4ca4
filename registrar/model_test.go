package registrar

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
)

// The model test of fencing: three nodes of a cluster in a world of its own,
// where time is made up and everything may come late, get lost, die, freeze and
// come back. The fencer and what the watchdog asks before it kills are the real
// ones; Patroni, PostgreSQL, Docker and etcd are models of what matters of them.
//
// Whatever happens, and in whatever order: no fence deletes the leader key of a
// node that lives; in a synchronous cluster no two nodes acknowledge writes at
// the same time, and who leads has every acknowledged write; no two leaders are
// killed for being silent in one window; and in the end a dead leader's key goes
// at once, and somebody leads.

// modelPlay is one run of the model.
type modelPlay struct {
	Synchronous bool
	Script      []modelStep
	Fates       []int
}

type modelStep struct {
	After time.Duration
	What  string
	Whom  int
}

// modelSteps are what may happen. Freezes are excused only in a synchronous
// cluster: in another, a thawed leader takes writes for a moment.
var modelSteps = []string{
	"kill", "kill", "kill leader", "kill leader", "restart leader", "start", "crash registrar", "cut", "heal", "cut registrar", "heal registrar",
	"freeze", "thaw", "freeze leader", "freeze patroni", "thaw patroni", "freeze leader's patroni",
}

func (p modelPlay) freezes() bool {
	return slices.ContainsFunc(p.Script, func(s modelStep) bool { return s.What[0] == 'f' })
}

var modelPlays = rapid.Custom(func(t *rapid.T) modelPlay {
	step := rapid.Custom(func(t *rapid.T) modelStep {
		return modelStep{
			After: time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond,
			What:  rapid.SampledFrom(modelSteps).Draw(t, "what"),
			Whom:  rapid.IntRange(0, 2).Draw(t, "whom"),
		}
	})
	return modelPlay{
		Synchronous: rapid.Bool().Draw(t, "synchronous"),
		Script:      rapid.SliceOfN(step, 5, 30).Draw(t, "script"),
		Fates:       rapid.SliceOfN(rapid.IntRange(0, 99), 30, 60).Draw(t, "fates"),
	}
})

func TestFencingModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		if err := modelPlays.Draw(rt, "play").run(t, modelFaults{}); err != nil {
			rt.Fatal(err)
		}
	})
}

// A model that can not fail shows nothing: with each of these mistakes it does.
func TestFencingModelFindsMistakes(t *testing.T) {
	for name, faults := range map[string]modelFaults{
		"create revision compared":            {byCreation: true},
		"inspection that sees no new run":     {blind: true},
		"old events taken for proof":          {fresh: time.Minute},
		"no fence":                            {noFence: true},
		"kills without a claim":               {noWindow: true},
		"promotion without a word in the key": {hastyPromotion: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range 1000 {
				if err := modelPlays.Example(seed).run(t, faults); err != nil {
					t.Logf("found in play %d: %v", seed, err)
					return
				}
			}
			t.Error("not found")
		})
	}
}

// run plays and returns what went wrong.
func (p modelPlay) run(t *testing.T, faults modelFaults) error {
	t.Helper()
	var broken error
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := newModelWorld(ctx, p, faults)
		w.begin()
		for _, s := range p.Script {
			w.pass(s.After)
			w.play(s)
		}
		broken = w.conclude()
		cancel()
		w.running.Wait()
	})
	return broken
}

// begin brings the cluster up.
func (w *modelWorld) begin() {
	w.calm.Store(true)
	for i := range len(w.nodes) {
		n := w.nodes[modelName(i)]
		n.boot()
		n.host.start()
		w.pass(10 * time.Millisecond)
	}
	w.pass(5 * time.Second)
	w.calm.Store(false)
}

// pass lets time go by, under writes.
func (w *modelWorld) pass(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		w.change(w.write)
	}
}

func (w *modelWorld) play(s modelStep) {
	n := w.nodes[modelName(s.Whom)]
	switch s.What {
	case "crash registrar":
		w.change(func() { n.host.end() })
		w.running.Go(func() {
			staff.Pause(w.ctx, time.Duration(s.Whom)*time.Second)
			if w.ctx.Err() == nil {
				n.host.start()
			}
		})
	case "start":
		n.boot() // not the registrar's doing
	case "restart leader": // nor is this
		w.change(func() { n = w.harm(n, s.What) })
		w.pass(time.Duration(s.Whom) * 150 * time.Millisecond)
		n.boot()
	case "cut", "heal":
		n.link.cut.Store(s.What == "cut")
	case "cut registrar", "heal registrar":
		n.host.link.cut.Store(s.What == "cut registrar")
	default:
		w.change(func() { w.harm(n, s.What) })
	}
}

// harm does it to the node, or to the leader if that is meant and there is one,
// and returns to whom.
func (w *modelWorld) harm(n *modelNode, what string) *modelNode {
	leader, led := w.nodes[w.etcd.get(leaderKey).value]
	if led && strings.Contains(what, "leader") {
		n = leader
	}
	switch r := n.current; what {
	case "kill", "kill leader", "restart leader":
		r.die()
	case "freeze", "freeze leader":
		r.frozen = time.Now()
	case "thaw":
		r.frozen = time.Time{}
	case "freeze patroni", "freeze leader's patroni":
		r.patroniFrozen = time.Now()
	case "thaw patroni":
		r.patroniFrozen = time.Time{}
	}
	return n
}

// conclude ends all trouble, and looks whether the cluster comes back, and
// whether one more dead leader's key goes at once.
func (w *modelWorld) conclude() error {
	w.calm.Store(true)
	for _, n := range w.nodes {
		n.link.cut.Store(false)
		n.host.link.cut.Store(false)
		w.change(func() { n.current.frozen, n.current.patroniFrozen = time.Time{}, time.Time{} })
	}
	w.pass(leaderTTL / 4) // what was sent before is done or lost then
	w.await(2*leaderTTL, w.ledByLiving, "nobody leads after all")
	w.change(func() { w.harm(w.nodes[modelName(0)], "kill leader") })
	w.await(leaderTTL/4, w.freeOfTheDead, "a dead leader's key is still there")
	return w.await(2*leaderTTL, w.ledByLiving, "nobody leads after the last death")
}

// await lets time go by until something holds, up to limit. It returns the first
// thing that ever was wrong.
func (w *modelWorld) await(limit time.Duration, holds func() bool, otherwise string) (broken error) {
	held := false
	for range 50 {
		w.change(func() { held, broken = holds(), w.broken })
		if held || broken != nil {
			return broken
		}
		w.pass(limit / 50)
	}
	w.change(func() {
		w.fail("%s", otherwise)
		broken = w.broken
	})
	return broken
}

func (s modelStep) String() string { return fmt.Sprintf("%v: %s %d", s.After, s.What, s.Whom) }
