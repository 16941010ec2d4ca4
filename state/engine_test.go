package state_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// reactor is a Reactor made of a function.
type reactor func(context.Context, state.Tick) ([]state.Group, error)

func (r reactor) Tick(ctx context.Context, t state.Tick) ([]state.Group, error) { return r(ctx, t) }

// idle wants nothing.
var idle = reactor(func(context.Context, state.Tick) ([]state.Group, error) { return nil, nil })

// run starts an engine and stops it with the test.
func run(t *testing.T, cfg state.EngineConfig) *state.Engine {
	t.Helper()
	cfg.Log = fixtures.Log(t)
	cfg.Name = t.Name()
	e, err := state.NewEngine(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, errReactor) {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-e.Ready():
	case <-time.After(fixtures.Patience):
		t.Fatal("engine is not ready")
	}
	return e
}

var errReactor = errors.New("reactor's own error")

func put(t *testing.T, client *clientv3.Client, key, value string) int64 {
	t.Helper()
	resp, err := client.Put(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

func await(t *testing.T, e *state.Engine, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fixtures.Patience)
	defer cancel()
	if err := e.Await(ctx, cond); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

func TestEngineFollowsEtcd(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	put(t, client, "/service/a/leader", "n1")
	schema := state.NewSchema()
	leaders := state.Register(schema, state.LeaderPattern, state.Text)
	e := run(t, state.EngineConfig{Client: client, Schema: schema})
	e.View(func() {
		if got, ok := leaders.Get("a"); !ok || got.Value != "n1" {
			t.Errorf("leader of a = %q, %v, want n1", got.Value, ok)
		}
	})
	put(t, client, "/service/b%2Fc/leader", "n2")
	await(t, e, "the leader of b/c is n2", func() bool {
		got, ok := leaders.Get("b/c")
		return ok && got.Value == "n2" && got.Params[0] == "b/c"
	})
	if _, err := client.Delete(t.Context(), "/service/a/leader"); err != nil {
		t.Fatal(err)
	}
	await(t, e, "a has no leader", func() bool { _, ok := leaders.Get("a"); return !ok })
}

func TestEngineLeavesOutWhatDoesNotDecode(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	put(t, client, "/routing/allocation/a", "not a number")
	put(t, client, "/routing/allocation/b", "30001")
	schema := state.NewSchema()
	ports := state.Register(schema, state.AllocationPattern, state.Integer)
	e := run(t, state.EngineConfig{Client: client, Schema: schema})
	e.View(func() {
		if _, ok := ports.Get("a"); ok || ports.Len() != 1 {
			t.Errorf("table holds %d entries, a among them: %v; want b alone", ports.Len(), ok)
		}
	})
	put(t, client, "/routing/allocation/a", "30000")
	await(t, e, "a is mended", func() bool { got, ok := ports.Get("a"); return ok && got.Value == 30000 })
}

func TestDoSeesItsOwnWritesInTheNextTick(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	ports := state.Register(schema, state.AllocationPattern, state.Integer)
	written := 0
	e := run(t, state.EngineConfig{Client: client, Schema: schema, Reactor: reactor(func(_ context.Context, tick state.Tick) ([]state.Group, error) {
		if got, _ := ports.Get("n"); got.Value != written {
			t.Errorf("Tick at revision %d sees %d, %d was committed before", tick.Revision, got.Value, written)
		}
		if written == 20 {
			return nil, nil
		}
		return []state.Group{{Name: "count", Apply: func(tx *state.Tx) error {
			n, _, err := state.Load(tx, state.AllocationKey("n"), state.Integer)
			tx.Put(state.AllocationKey("n"), []byte(strconv.Itoa(n+1)))
			return err
		}, Done: func(err error) {
			if err == nil {
				written++
			}
		}}}, nil
	})})
	await(t, e, "20 Ticks counted", func() bool { got, _ := ports.Get("n"); return got.Value == 20 })
}

// Eight engines add to one counter: no increment is lost, whatever conflicts.
func TestGroupsOfManyEnginesSerialise(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	const engines, each = 8, 25
	var wg sync.WaitGroup
	for range engines {
		schema := state.NewSchema()
		state.Register(schema, state.AllocationPattern, state.Integer)
		e := run(t, state.EngineConfig{Client: client, Schema: schema, Reactor: idle})
		wg.Go(func() {
			for range each {
				if err := e.Do(t.Context(), increment("counter")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := value(t, client, state.AllocationKey("counter")); got != strconv.Itoa(engines*each) {
		t.Errorf("counter = %s, want %d", got, engines*each)
	}
}

func increment(id string) state.Group {
	return state.Group{Name: "increment", Apply: func(tx *state.Tx) error {
		n, _, err := state.Load(tx, state.AllocationKey(id), state.Integer)
		tx.Put(state.AllocationKey(id), []byte(strconv.Itoa(n+1)))
		return err
	}}
}

func value(t *testing.T, client *clientv3.Client, key string) string {
	t.Helper()
	resp, err := client.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}

func TestGroupSizes(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	ports := state.Register(schema, state.AllocationPattern, state.Integer)
	e := run(t, state.EngineConfig{Client: client, Schema: schema, Reactor: idle})
	for _, size := range []int{0, 1, 119, 120, 121, 300} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			err := e.Do(t.Context(), state.Group{Name: "fill", Apply: func(tx *state.Tx) error {
				for i := range size {
					tx.Put(state.AllocationKey(fmt.Sprintf("%d-%d", size, i)), []byte("1"))
				}
				return nil
			}})
			if tooLarge := size > state.MaxGroupKeys; tooLarge != (err != nil) {
				t.Fatalf("group of %d keys: %v", size, err)
			}
			count := 0
			e.View(func() {
				for entry := range ports.All() {
					var of, i int
					if _, err := fmt.Sscanf(entry.Params[0], "%d-%d", &of, &i); err == nil && of == size {
						count++
					}
				}
			})
			if want := size; err == nil && count != want {
				t.Errorf("%d of %d keys are in the picture after Do", count, want)
			}
		})
	}
}

// Groups that do not fit one transaction are applied in the next, exactly once.
func TestGroupsThatOverflowABatchAreAppliedOnce(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	state.Register(schema, state.AllocationPattern, state.Integer)
	ticked := false
	const groups, keys = 7, 50
	applied := make([]int, groups)
	e := run(t, state.EngineConfig{Client: client, Schema: schema, Reactor: reactor(func(context.Context, state.Tick) ([]state.Group, error) {
		if ticked {
			return nil, nil
		}
		ticked = true
		var out []state.Group
		for g := range groups {
			out = append(out, state.Group{Name: "many", Done: func(err error) {
				if err == nil {
					applied[g]++
				}
			}, Apply: func(tx *state.Tx) error {
				for k := range keys {
					key := state.AllocationKey(fmt.Sprintf("%d-%d", g, k))
					n, _, err := state.Load(tx, key, state.Integer)
					if err != nil {
						return err
					}
					tx.Put(key, []byte(strconv.Itoa(n+1)))
				}
				return nil
			}})
		}
		return out, nil
	})})
	if err := e.Do(t.Context(), increment("last")); err != nil {
		t.Fatal(err)
	}
	for g := range groups {
		if applied[g] != 1 {
			t.Errorf("group %d ended %d times", g, applied[g])
		}
		for k := range keys {
			if got := value(t, client, state.AllocationKey(fmt.Sprintf("%d-%d", g, k))); got != "1" {
				t.Errorf("key %d of group %d was written %s times", k, g, got)
			}
		}
	}
}

func TestSkipDropsItsGroupAlone(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	state.Register(schema, state.AllocationPattern, state.Integer)
	e := run(t, state.EngineConfig{Client: client, Schema: schema, Reactor: idle})
	err := e.Do(t.Context(), state.Group{Name: "skip", Apply: func(tx *state.Tx) error {
		tx.Put(state.AllocationKey("skipped"), []byte("1"))
		return state.ErrSkip
	}})
	if !errors.Is(err, state.ErrSkip) {
		t.Errorf("Do of a skipped group: %v, want ErrSkip", err)
	}
	if err := e.Do(t.Context(), increment("kept")); err != nil {
		t.Fatal(err)
	}
	if got := value(t, client, state.AllocationKey("skipped")); got != "" {
		t.Errorf("the skipped group wrote %q", got)
	}
}

// An engine that was cut off while etcd was compacted must notice what went
// and what came meanwhile.
func TestEngineResyncsAfterCompaction(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	client := server.Client()
	link := fixtures.NewLink(t, server.Endpoints()[0])
	put(t, client, "/service/gone/leader", "n1")
	put(t, client, "/service/stays/leader", "n1")
	schema := state.NewSchema()
	leaders := state.Register(schema, state.LeaderPattern, state.Text)
	through, err := state.Dial([]string{link.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { through.Close() })
	e := run(t, state.EngineConfig{Client: through, Schema: schema})
	link.Cut()
	if _, err := client.Delete(t.Context(), "/service/gone/leader"); err != nil {
		t.Fatal(err)
	}
	revision := put(t, client, "/service/new/leader", "n2")
	if _, err := client.Compact(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	link.Heal()
	await(t, e, "the picture is right again", func() bool {
		_, gone := leaders.Get("gone")
		_, fresh := leaders.Get("new")
		_, stays := leaders.Get("stays")
		return !gone && fresh && stays
	})
}

// A commit whose reply is lost is settled: applied once, never twice.
func TestLostRepliesCommitOnce(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	link := fixtures.NewLink(t, server.Endpoints()[0])
	through, err := state.Dial([]string{link.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { through.Close() })
	schema := state.NewSchema()
	state.Register(schema, state.AllocationPattern, state.Integer)
	e := run(t, state.EngineConfig{Client: through, Schema: schema, Reactor: idle, CommitTimeout: 300 * time.Millisecond})
	const rounds = 10
	for i := range rounds {
		if i%2 == 0 {
			link.EatReplies()
			time.AfterFunc(200*time.Millisecond, link.Heal)
		}
		if err := e.Do(t.Context(), increment("n")); err != nil {
			t.Fatal(err)
		}
	}
	if got := value(t, server.Client(), state.AllocationKey("n")); got != strconv.Itoa(rounds) {
		t.Errorf("%d increments left %s", rounds, got)
	}
}

func TestSessionLossIsToldAndRepaired(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	routers := state.Register(schema, state.RouterPattern, state.Text)
	key := state.RouterKey("10.0.0.5", 4711)
	e := run(t, state.EngineConfig{Client: client, Schema: schema, SessionTTL: time.Second, Reactor: reactor(func(_ context.Context, tick state.Tick) ([]state.Group, error) {
		if got, ok := routers.Get("10.0.0.5@-@4711"); tick.Lease == 0 || ok && got.Lease == tick.Lease {
			return nil, nil
		}
		return []state.Group{{Name: "register", Apply: func(tx *state.Tx) error {
			tx.PutLeased(key, nil)
			return nil
		}}}, nil
	})})
	var first clientv3.LeaseID
	await(t, e, "the router is registered", func() bool {
		got, ok := routers.Get("10.0.0.5@-@4711")
		first = got.Lease
		return ok
	})
	if _, err := client.Revoke(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	await(t, e, "it is registered under a new lease", func() bool {
		got, ok := routers.Get("10.0.0.5@-@4711")
		return ok && got.Lease != first
	})
}

func TestDeposedHolderCannotCommit(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	type candidate struct {
		engine   *state.Engine
		election *state.Election
	}
	var both []candidate
	for i := range 2 {
		schema := state.NewSchema()
		election := state.NewElection(schema, "driver")
		state.Register(schema, state.AllocationPattern, state.Integer)
		e := run(t, state.EngineConfig{Client: client, Schema: schema, SessionTTL: 5 * time.Second, Reactor: reactor(func(_ context.Context, tick state.Tick) ([]state.Group, error) {
			if i == 1 {
				return nil, nil // never campaigns
			}
			return election.Campaign(tick, "first"), nil
		})})
		both = append(both, candidate{e, election})
	}
	guarded := func(c candidate) error {
		return c.engine.Do(t.Context(), state.Group{Name: "guarded", Apply: func(tx *state.Tx) error {
			if err := c.election.Guard(tx); err != nil {
				return err
			}
			tx.Put(state.AllocationKey("x"), []byte("1"))
			return nil
		}})
	}
	deadline := time.Now().Add(fixtures.Patience)
	for guarded(both[0]) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the candidate never got the office")
		}
	}
	if err := guarded(both[1]); !errors.Is(err, state.ErrDeposed) {
		t.Errorf("a group of one who does not hold the office: %v, want ErrDeposed", err)
	}
	put(t, client, state.ElectionKey("driver"), "a stranger")
	if err := guarded(both[0]); !errors.Is(err, state.ErrDeposed) {
		t.Errorf("a group of the deposed: %v, want ErrDeposed", err)
	}
}

func TestFinishedReactorCommitsWhatIsPending(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	state.Register(schema, state.AllocationPattern, state.Integer)
	e, err := state.NewEngine(state.EngineConfig{Client: client, Schema: schema, Name: "finish", Reactor: reactor(func(context.Context, state.Tick) ([]state.Group, error) {
		return []state.Group{increment("a"), increment("b")}, state.ErrFinished
	})})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, b := value(t, client, state.AllocationKey("a")), value(t, client, state.AllocationKey("b")); a != "1" || b != "1" {
		t.Errorf("a = %q, b = %q after the end, want 1 and 1", a, b)
	}
	if resp, err := client.Get(t.Context(), "/engine/", clientv3.WithPrefix()); err != nil || len(resp.Kvs) != 0 {
		t.Errorf("the ended engine left %d markers (%v)", len(resp.Kvs), err)
	}
}

func TestReactorErrorEndsRun(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	state.Register(schema, state.AllocationPattern, state.Integer)
	e, err := state.NewEngine(state.EngineConfig{Client: client, Schema: schema, Name: "error", Reactor: reactor(func(context.Context, state.Tick) ([]state.Group, error) {
		return nil, errReactor
	})})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(t.Context()); !errors.Is(err, errReactor) {
		t.Errorf("Run = %v, want the reactor's error", err)
	}
	if err := e.Do(t.Context(), increment("a")); !errors.Is(err, state.ErrStopped) {
		t.Errorf("Do on an ended engine: %v, want ErrStopped", err)
	}
}
