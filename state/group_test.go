package state_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// writer runs an engine that wants nothing by itself.
func writer(t *testing.T, client *clientv3.Client) *state.Engine {
	t.Helper()
	schema := state.NewSchema()
	state.Register(schema, state.AllocationPattern, state.Integer)
	return run(t, state.EngineConfig{Client: client, Schema: schema, Reactor: idle, CommitTimeout: 500 * time.Millisecond})
}

// meddling returns a group that reads, lets meddle change etcd once behind its
// back, and then puts what it read.
func meddling(key string, meddle func(), runs *[]string) state.Group {
	var once sync.Once
	return state.Group{Name: "meddled with", Apply: func(tx *state.Tx) error {
		got, ok := tx.Get(key)
		*runs = append(*runs, fmt.Sprintf("%s %v", got.Value, ok))
		tx.Put(state.AllocationKey("result"), fmt.Appendf(nil, "%d", len(got.Value)))
		once.Do(meddle)
		return nil
	}}
}

// Whatever another does to a key that a group read is a conflict, and the
// group runs again over what is then true.
func TestWhatIsReadIsCompared(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	e := writer(t, client)
	key := state.AllocationKey("read")
	del := func() {
		if _, err := client.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		before string
		meddle func()
		after  string
	}{
		"changed":                       {"1", func() { put(t, client, key, "22") }, "22 true"},
		"deleted":                       {"1", del, " false"},
		"created":                       {"", func() { put(t, client, key, "22") }, "22 true"},
		"deleted and made again alike":  {"1", func() { del(); put(t, client, key, "1") }, "1 true"},
		"made, deleted and made again":  {"", func() { put(t, client, key, "5"); del(); put(t, client, key, "22") }, "22 true"},
		"changed often, others between": {"1", func() { put(t, client, key, "2"); put(t, client, "/routing/z", ""); put(t, client, key, "33") }, "33 true"},
	} {
		t.Run(name, func(t *testing.T) {
			if del(); c.before != "" {
				put(t, client, key, c.before)
			}
			if err := e.Do(soon(t), set(state.AllocationKey("sync"), name)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the picture is as the test wants it", func() bool {
				now := ""
				err := e.Do(soon(t), state.Group{Name: "look", Apply: func(tx *state.Tx) error { kv, _ := tx.Get(key); now = string(kv.Value); return nil }})
				return err == nil && now == c.before
			})
			var runs []string
			if err := e.Do(soon(t), meddling(key, c.meddle, &runs)); err != nil {
				t.Fatal(err)
			}
			if len(runs) < 2 || runs[len(runs)-1] != c.after {
				t.Errorf("the group ran over %q, want it to end over %q", runs, c.after)
			}
		})
	}
}

// Two groups that each read what the other writes can not both go by what was
// before: of two on call, one stays.
func TestWriteSkewIsImpossible(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	a, b := writer(t, client), writer(t, client)
	on := func(who string) string { return state.AllocationKey(who) }
	leave := func(me, other string) state.Group {
		return state.Group{Name: me + " leaves", Apply: func(tx *state.Tx) error {
			if got, _ := tx.Get(on(other)); string(got.Value) != "1" {
				return state.ErrSkip
			}
			tx.Put(on(me), []byte("0"))
			return nil
		}}
	}
	for round := range 30 {
		for _, who := range []string{"a", "b"} {
			if err := a.Do(soon(t), set(on(who), "1")); err != nil {
				t.Fatal(err)
			}
		}
		var both sync.WaitGroup
		both.Go(func() { _ = a.Do(soon(t), leave("a", "b")) })
		both.Go(func() { _ = b.Do(soon(t), leave("b", "a")) })
		both.Wait()
		if value(t, client, on("a")) == "0" && value(t, client, on("b")) == "0" {
			t.Fatalf("round %d: nobody is on call", round)
		}
	}
}

// contested returns a group that is always meddled with before it can commit.
func contested(ctx context.Context, client *clientv3.Client, runs *atomic.Int32) state.Group {
	return state.Group{Name: "contested", Apply: func(tx *state.Tx) error {
		tx.Get(state.AllocationKey("hot"))
		tx.Put(state.AllocationKey("loser"), strconv.AppendInt(nil, int64(runs.Add(1)), 10))
		_, err := client.Put(ctx, state.AllocationKey("hot"), "1")
		return err
	}}
}

// loseForever has callers wait for contested groups, and counts their runs.
func loseForever(t *testing.T, client *clientv3.Client, e *state.Engine) *atomic.Int32 {
	ctx, cancel := context.WithCancel(t.Context())
	var runs atomic.Int32
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	for range 3 {
		running.Go(func() { _ = e.Do(ctx, contested(ctx, client, &runs)) })
	}
	return &runs
}

// What a group only writes is compared, too.
func TestWhatIsWrittenIsCompared(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	e := writer(t, client)
	key := state.AllocationKey("written")
	runs := 0
	err := e.Do(soon(t), state.Group{Name: "put blindly", Apply: func(tx *state.Tx) error {
		if tx.Put(key, []byte("1")); runs == 0 {
			put(t, client, key, "2")
		}
		runs++
		return nil
	}})
	if got := value(t, client, key); err != nil || runs < 2 || got != "1" {
		t.Errorf("the group ran %d times and left %s (%v), want 2 and 1", runs, got, err)
	}
}

// A group whose key another writes all the time does not hold up the one that
// shares its transaction.
func TestAContestedKeyHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	state.Register(schema, state.AllocationPattern, state.Integer)
	calm := increment("calm")
	through := make(chan error, 1)
	calm.Done = func(err error) { through <- err }
	var runs atomic.Int32
	given := false
	run(t, state.EngineConfig{Client: client, Schema: schema, Reactor: reactor(func(context.Context, state.Tick) ([]state.Group, error) {
		if given {
			return nil, nil
		}
		given = true
		return []state.Group{calm, contested(t.Context(), client, &runs)}, nil
	})})
	select {
	case err := <-through:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(fixtures.Patience):
		t.Errorf("a group waits for one that shared its transaction and lost %d times", runs.Load())
	}
}

// What others wait for with Do does not keep the reactor from its Ticks.
func TestCallersDoNotStarveTicks(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	state.Register(schema, state.AllocationPattern, state.Integer)
	leaders := state.Register(schema, state.LeaderPattern, state.Integer)
	var seen atomic.Int64
	e := run(t, state.EngineConfig{Client: client, Schema: schema, Reactor: reactor(func(context.Context, state.Tick) ([]state.Group, error) {
		got, _ := leaders.Get("a")
		seen.Store(int64(got.Value))
		return nil, nil
	})})
	waiting := loseForever(t, client, e)
	eventually(t, "a caller waits", func() bool { return waiting.Load() > 3 })
	for i := 1; i <= 10; i++ {
		put(t, client, state.LeaderKey("a"), strconv.Itoa(i))
		eventually(t, "the reactor sees the leader", func() bool { return seen.Load() == int64(i) })
	}
}

// When etcd refuses a transaction because of one group, the others that
// shared it are committed.
func TestARefusedGroupTakesNoOtherAlong(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	state.Register(schema, state.AllocationPattern, state.Integer)
	outcomes := make(chan error, 4)
	outcome := func(g state.Group) state.Group {
		g.Done = func(err error) { outcomes <- err }
		return g
	}
	ticked := false
	run(t, state.EngineConfig{Client: client, Schema: schema, SessionTTL: 60 * time.Second, Reactor: reactor(func(_ context.Context, tick state.Tick) ([]state.Group, error) {
		if ticked || tick.Lease == clientv3.NoLease {
			return nil, nil
		}
		ticked = true
		// The engine does not know yet.
		if _, err := client.Revoke(t.Context(), tick.Lease); err != nil {
			t.Error(err)
		}
		return []state.Group{outcome(set(state.AllocationKey("a"), "1")), outcome(state.Group{Name: "leased", Apply: func(tx *state.Tx) error {
			tx.PutLeased(state.AllocationKey("leased"), []byte("1"))
			return nil
		}}), outcome(set(state.AllocationKey("b"), "1"))}, nil
	})})
	failed := 0
	for range 3 {
		if err := <-outcomes; err != nil {
			failed++
			if !strings.Contains(err.Error(), "lease not found") {
				t.Errorf("refused with %v", err)
			}
		}
	}
	if a, b := value(t, client, state.AllocationKey("a")), value(t, client, state.AllocationKey("b")); failed != 1 || a != "1" || b != "1" {
		t.Errorf("%d groups of 3 failed, a = %q, b = %q; want the leased one to fail alone", failed, a, b)
	}
}

// A reactor that goes by what changed is told again of what its refused group
// was about, a while later; what changes meanwhile does not wait for that.
func TestWhatIsRefusedIsToldAgain(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	leaders := state.Register(schema, state.LeaderPattern, state.Text)
	state.Register(schema, state.AllocationPattern, state.Integer)
	told, refused, ready := make(chan []string, 100), make(chan error, 1), false
	run(t, state.EngineConfig{Client: client, Schema: schema, Reactor: reactor(func(context.Context, state.Tick) (groups []state.Group, _ error) {
		changed := slices.Concat(slices.Collect(leaders.Changed())...)
		if told <- changed; !slices.Contains(changed, "a") {
			return nil, nil
		}
		mends := ready
		ready = true
		return []state.Group{{Name: "about a", Done: func(err error) { refused <- err }, Apply: func(tx *state.Tx) error {
			tx.Put(state.AllocationKey("a"), []byte("1"))
			if !mends {
				return errReactor
			}
			return nil
		}}}, nil
	})})
	next(t, told) // of the first picture
	put(t, client, state.LeaderKey("a"), "n1")
	if err := next(t, refused); !errors.Is(err, errReactor) {
		t.Errorf("refused with %v", err)
	}
	put(t, client, state.LeaderKey("b"), "n1")
	for _, want := range []string{"a", "b", "a"} {
		if got := next(t, told); !slices.Equal(got, []string{want}) {
			t.Errorf("told of %q, want %s", got, want)
		}
	}
	if err := next(t, refused); err != nil || value(t, client, state.AllocationKey("a")) != "1" {
		t.Errorf("the second time: %v", err)
	}
}

// A single group over a limit is refused at once with a clear error; groups
// that together are over it go in several transactions.
func TestByteLimits(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	schema.Watch("/routing/")
	e := run(t, state.EngineConfig{Client: client, Schema: schema, Reactor: idle})
	big := func(key string, size int) state.Group {
		return state.Group{Name: "big", Apply: func(tx *state.Tx) error {
			tx.Put(key, make([]byte, size-len(key)))
			return nil
		}}
	}
	key := state.AllocationKey("a")
	if err := e.Do(soon(t), big(key, state.MaxGroupBytes)); err != nil {
		t.Errorf("a group of exactly the limit: %v", err)
	}
	err := e.Do(soon(t), big(key, state.MaxGroupBytes+1))
	if want := "group big: patch group of 1048577 bytes exceeds the limit of 1048576"; err == nil || err.Error() != want {
		t.Errorf("a group over the limit: %v, want %s", err, want)
	}
	var together sync.WaitGroup
	for i := range 5 {
		together.Go(func() {
			if err := e.Do(soon(t), big(state.AllocationKey(fmt.Sprint("t", i)), 600<<10)); err != nil {
				t.Error(err)
			}
		})
	}
	together.Wait()
}

func TestLimitOfKeysIsToldClearly(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	e := writer(t, client)
	err := e.Do(soon(t), state.Group{Name: "many", Apply: func(tx *state.Tx) error {
		for i := range 60 {
			tx.Get(state.AllocationKey(fmt.Sprint("r", i)))
			tx.Put(state.AllocationKey(fmt.Sprint("w", i)), nil)
		}
		tx.Get(state.AllocationKey("one more"))
		return nil
	}})
	if want := "group many: patch group of 121 keys exceeds the limit of 120"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := e.Do(soon(t), state.Group{Name: "own error", Apply: func(*state.Tx) error { return errReactor }}); !errors.Is(err, errReactor) {
		t.Errorf("a group's own error: %v", err)
	}
}
