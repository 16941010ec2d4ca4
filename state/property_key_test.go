package state_test

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/embedded"
)

// step is what one group does to one key.
type step struct {
	key, what string
}

// on does the step to a map that stands for etcd.
func (s step) on(model map[string]int) {
	switch s.what {
	case "put":
		model[s.key] = 100
	case "add":
		model[s.key]++
	case "delete":
		delete(model, s.key)
	}
}

// in does the step in a transaction.
func (s step) in(tx *state.Tx) error {
	key := state.AllocationKey(s.key)
	n, _, err := state.Load(tx, key, state.Integer)
	switch s.what {
	case "put":
		tx.Put(key, []byte("100"))
	case "add":
		tx.Put(key, []byte(strconv.Itoa(n+1)))
	case "delete":
		tx.Delete(key)
	}
	return err
}

// cover is a reactor that gives out steps, each Tick some groups of some, and
// knows what the picture must be before each Tick.
type cover struct {
	t     *testing.T
	keys  *state.Table[int]
	ticks [][][]step
	model map[string]int
	ended chan struct{}
}

func (c *cover) Tick(context.Context, state.Tick) ([]state.Group, error) {
	seen := map[string]int{}
	for e := range c.keys.All() {
		seen[e.Params[0]] = e.Value
	}
	if diff := gocmp.Diff(c.model, seen); diff != "" {
		c.t.Errorf("with %d ticks left, the picture has (+) what was not done (-):\n%s", len(c.ticks), diff)
	}
	if len(c.ticks) == 0 {
		close(c.ended)
		return nil, state.ErrFinished
	}
	var groups []state.Group
	for _, steps := range c.ticks[0] {
		groups = append(groups, state.Group{Name: "steps", Apply: func(tx *state.Tx) error {
			for _, s := range steps {
				if err := s.in(tx); err != nil {
					return err
				}
			}
			return nil
		}, Done: func(err error) {
			if err != nil {
				c.t.Errorf("group: %v", err)
			}
			for _, s := range steps {
				s.on(c.model)
			}
		}})
	}
	c.ticks = c.ticks[1:]
	return groups, nil
}

// Cover: many patches of few keys, puts after deletes and deletes after puts,
// within a group, within a transaction and over many. Every Tick sees exactly
// what all the groups before did, whatever happens to answers and the watch.
func TestPropertyCover(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	steps := rapid.Custom(func(rt *rapid.T) step {
		return step{
			key:  rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key"),
			what: rapid.SampledFrom([]string{"put", "add", "delete"}).Draw(rt, "what"),
		}
	})
	ticks := rapid.SliceOfN(rapid.SliceOfN(rapid.SliceOfN(steps, 0, 5), 1, 5), 20, 60)
	property(t, func(rt *rapid.T) {
		c := &cover{t: t, ticks: ticks.Draw(rt, "ticks"), model: map[string]int{}, ended: make(chan struct{})}
		faults := script(rt, "cut", "eat", "hole", "hold", "delay", "compact")
		schema := state.NewSchema()
		c.keys = state.Register(schema, state.AllocationPattern, state.Integer)
		wants := maps.Clone(c.model)
		for _, groups := range c.ticks {
			for _, steps := range groups {
				for _, s := range steps {
					s.on(wants)
				}
			}
		}
		lived := false
		w := newWorld(t, oneMember(server), 1, func(int, int) (*state.Schema, state.Reactor) {
			if lived { // finished: nothing more to do
				other := state.NewSchema()
				other.Watch("/routing/")
				return other, idle
			}
			lived = true
			return schema, c
		})
		w.play(faults)
		eventually(t, "all is done", func() bool {
			select {
			case <-c.ended:
				return true
			default:
				w.procs[0].current().Wake()
				return false
			}
		})
		w.end()
		if diff := gocmp.Diff(wants, w.ints("/routing/allocation/")); diff != "" {
			t.Errorf("etcd has (+) what was not done (-):\n%s", diff)
		}
		failed(t, rt, faults)
	})
}

// Finish: a reactor that ends with much pending. Under faults it commits all of
// it. Cut short at the moment of one, what Run does not name is committed, once;
// what it names is not, unless it says unknown.
func TestPropertyFinishWithPending(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	property(t, func(rt *rapid.T) {
		faults := script(rt, "cut", "eat", "hole", "hold", "delay")
		groups := rapid.IntRange(20, 60).Draw(rt, "groups")
		keys := rapid.IntRange(20, 40).Draw(rt, "keys")
		cutAfter := rapid.IntRange(1, 10).Draw(rt, "cut after")
		last := rapid.SampledFrom([]string{"cut", "eat", "hole", "hold"}).Draw(rt, "last")
		if err := finish(t, server, faults, groups, keys, groups+1, ""); err != nil {
			t.Errorf("Run, left alone: %v", err)
		}
		if err := finish(t, server, nil, groups, keys, cutAfter, last); err == nil {
			t.Errorf("Run, cut short after %d of %d groups, tells nothing", cutAfter, groups)
		}
		failed(t, rt, faults)
	})
}

// finish runs a reactor that ends at once with groups of so many keys, under
// faults, and when so many of them are committed, brings the last fault and ends
// its ctx. It returns Run's error, compared with what became of the groups.
func finish(t *testing.T, server *embedded.Etcd, faults []trouble, groups, keys, cutAfter int, last string) error {
	t.Helper()
	w := newWorld(t, oneMember(server), 1, func(int, int) (*state.Schema, state.Reactor) {
		schema := state.NewSchema()
		schema.Watch("/routing/")
		return schema, idle
	})
	defer w.end()
	ctx, cut := context.WithCancel(t.Context())
	defer cut()
	committed := 0
	count := func(err error) {
		if err == nil {
			committed++
		}
		if committed == cutAfter {
			w.procs[0].harm(last)
			cut()
		}
	}
	schema := state.NewSchema()
	state.Register(schema, state.AllocationPattern, state.Integer)
	e, err := state.NewEngine(state.EngineConfig{
		Client: fixtures.EtcdClient(t, w.procs[0].link.Addr()), Schema: schema, Log: quiet, CommitTimeout: 200 * time.Millisecond,
		Reactor: reactor(func(context.Context, state.Tick) ([]state.Group, error) {
			var out []state.Group
			for g := range groups {
				amounts := map[string]int{}
				for k := range keys {
					amounts[fmt.Sprintf("%d-%d", g, k)] = 1
				}
				group := add(fmt.Sprintf("group-%d.", g), amounts)
				group.Done = count
				out = append(out, group)
			}
			return out, state.ErrFinished
		})})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { w.play(faults) })
	ended := e.Run(ctx)
	running.Wait()
	final := w.ints("/routing/allocation/")
	for g := range groups {
		checkFinished(t, ended, g, keys, final)
	}
	return ended
}

// checkFinished compares what became of group g with what Run's error tells.
func checkFinished(t *testing.T, ended error, g, keys int, final map[string]int) {
	t.Helper()
	applied := 0
	for k := range keys {
		n := final[fmt.Sprintf("%d-%d", g, k)]
		if n > 1 {
			t.Errorf("group %d was applied %d times", g, n)
		}
		applied += n
	}
	if applied != 0 && applied != keys {
		t.Errorf("group %d was applied to %d of %d keys", g, applied, keys)
	}
	named, unknown := told(ended, fmt.Sprintf("group-%d.", g))
	if !unknown && named == (applied > 0) {
		t.Errorf("group %d: applied to %d of %d keys; Run named it: %v", g, applied, keys, named)
	}
}

// told reports whether Run's error names a group, and as unknown.
func told(err error, name string) (named, unknown bool) {
	for _, line := range strings.Split(fmt.Sprint(err), "not committed: ") {
		if strings.Contains(line, strconv.Quote(name)) {
			return true, strings.Contains(line, state.ErrUnknownOutcome.Error())
		}
	}
	return false, false
}
