package state_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// runs is how often each property that needs an etcd is tried. For a long run
// by hand: go test ./state -run Property -runs=100
var runs = flag.Int("runs", 2, "runs of each property test against etcd")

// TestMain keeps rapid from shrinking what failed: each try is a run against a
// real etcd, and how faults meet work is not in its hands.
func TestMain(m *testing.M) {
	fixtures.RunWaiting(m, map[string]string{"rapid.shrinktime": "0s", "rapid.nofailfile": "true"})
}

// property tries check a few times. rapid prints the seed of one that fails.
func property(t *testing.T, check func(rt *rapid.T)) {
	t.Helper()
	tried := 0
	rapid.Check(t, func(rt *rapid.T) {
		if tried++; tried <= *runs || t.Failed() {
			check(rt)
		}
	})
}

// sight is what one Tick saw.
type sight struct {
	revision int64
	keys     map[string]string
}

// history is all that happened in an etcd, by a watch of its own.
type history struct {
	mu     sync.Mutex
	events []*clientv3.Event
}

func record(t *testing.T, client *clientv3.Client) *history {
	t.Helper()
	h := &history{}
	ctx, cancel := context.WithCancel(t.Context())
	watch := client.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithCreatedNotify())
	<-watch
	var running sync.WaitGroup
	running.Go(func() {
		for resp := range watch {
			h.mu.Lock()
			h.events = append(h.events, resp.Events...)
			h.mu.Unlock()
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return h
}

// check compares each sight with etcd's contents at its revision.
func (h *history) check(t *testing.T, sights []sight, prefixes ...string) {
	t.Helper()
	sights = slices.Clone(sights)
	slices.SortStableFunc(sights, func(a, b sight) int { return cmp.Compare(a.revision, b.revision) })
	deadline := time.Now().Add(fixtures.Patience)
	for last := sights[len(sights)-1].revision; h.newest() < last && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // the recorder may lag behind the engine
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	contents, next := map[string]string{}, 0
	for _, s := range sights {
		for ; next < len(h.events) && h.events[next].Kv.ModRevision <= s.revision; next++ {
			ev := h.events[next]
			if ev.Type == clientv3.EventTypeDelete {
				delete(contents, string(ev.Kv.Key))
			} else {
				contents[string(ev.Kv.Key)] = string(ev.Kv.Value)
			}
		}
		want := maps.Clone(contents)
		maps.DeleteFunc(want, func(key, _ string) bool {
			return !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) })
		})
		if !maps.Equal(want, s.keys) {
			t.Fatalf("the Tick at revision %d saw (+) what etcd did not hold (-):\n%s", s.revision, gocmp.Diff(want, s.keys))
		}
	}
}

func (h *history) newest() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.events) == 0 {
		return 0
	}
	return h.events[len(h.events)-1].Kv.ModRevision
}

// watcher is a reactor that remembers what it saw in two tables far apart.
type watcher struct {
	t       *testing.T
	schema  *state.Schema
	ports   *state.Table[string]
	leaders *state.Table[string]

	// mu guards sights.
	mu     sync.Mutex
	sights []sight
}

func newWatcher(t *testing.T) *watcher {
	w := &watcher{t: t, schema: state.NewSchema()}
	w.ports = state.Register(w.schema, state.AllocationPattern, state.Text)
	w.leaders = state.Register(w.schema, state.LeaderPattern, state.Text)
	return w
}

func (w *watcher) Tick(_ context.Context, tick state.Tick) ([]state.Group, error) {
	s := sight{revision: tick.Revision, keys: map[string]string{}}
	for e := range w.ports.All() {
		s.keys[state.AllocationKey(e.Params[0])] = e.Value
	}
	for e := range w.leaders.All() {
		s.keys[state.LeaderKey(e.Params[0])] = e.Value
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.sights); n > 0 && w.sights[n-1].revision > tick.Revision {
		w.t.Errorf("a Tick at revision %d came after one at %d", tick.Revision, w.sights[n-1].revision)
	}
	w.sights = append(w.sights, s)
	return nil, nil
}

func (w *watcher) seen() []sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sights)
}

// metric returns the sum of a metric's samples, those of one label value if
// it is given.
func metric(t *testing.T, r *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "pgpatron_engine_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if label == "" && l.GetName() == "engine" || label != "" && l.GetValue() == label {
					sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	return sum
}

// eventually polls, because what it waits for is outside the picture.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(fixtures.Patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting until %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// next receives what comes, if it comes soon.
func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(fixtures.Patience):
		t.Fatal("nothing comes")
		panic("unreachable")
	}
}

// soon returns a context that bounds what should take no time.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("took more than 10 s"))
	t.Cleanup(cancel)
	return ctx
}

// set returns a group that puts one key.
func set(key, value string) state.Group {
	return state.Group{Name: "set " + key, Apply: func(tx *state.Tx) error {
		tx.Put(key, []byte(value))
		return nil
	}}
}
