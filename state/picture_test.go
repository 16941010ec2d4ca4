package state_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// writeForever writes transactions over both of watcher's tables, deletes, and
// keys between them that nobody watches, until the test ends it.
func writeForever(t *testing.T, client *clientv3.Client) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for w := range 3 {
		running.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id, value := fmt.Sprint(rand.N(400)), fmt.Sprintf("%d-%d", w, i)
				ops := []clientv3.Op{
					clientv3.OpPut(state.AllocationKey(id), value),
					clientv3.OpPut(state.LeaderKey(id), value),
					clientv3.OpPut(state.PortKey(w), value),
				}
				if i%5 == 4 {
					ops = []clientv3.Op{clientv3.OpDelete(state.AllocationKey(id)), clientv3.OpDelete(state.LeaderKey(id))}
				}
				if _, err := client.Txn(ctx).Then(ops...).Commit(); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	return sync.OnceFunc(func() { cancel(); running.Wait() })
}

// Engines that start, are cut off and are compacted away while writes never
// stop: every Tick of each shows etcd at exactly one revision.
func TestEveryTickSeesOneRevision(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	client := server.Client()
	h := record(t, client)
	stop := writeForever(t, client)
	defer stop()
	var all []*watcher
	for range 4 { // the seam, four times
		w := newWatcher(t)
		run(t, state.EngineConfig{Client: client, Schema: w.schema, Reactor: w})
		all = append(all, w)
	}
	link := fixtures.NewLink(t, server.Endpoints()[0])
	harmed, r := newWatcher(t), prometheus.NewRegistry()
	e := run(t, state.EngineConfig{Client: fixtures.EtcdClient(t, link.Addr()), Schema: harmed.schema, Reactor: harmed, Registerer: r})
	for i := range 4 {
		link.Cut()
		put(t, client, state.LeaderKey("missed"), strconv.Itoa(i)) // older than what is compacted, whatever the others do
		now := put(t, client, state.LeaderKey("mark"), strconv.Itoa(i))
		if i > 1 {
			if _, err := client.Compact(t.Context(), now); err != nil {
				t.Fatal(err)
			}
		}
		link.Heal()
		await(t, e, "the mark is seen", func() bool {
			got, _ := harmed.leaders.Get("mark")
			return got.Value == strconv.Itoa(i)
		})
	}
	stop()
	if metric(t, r, "resyncs_total", "compacted") == 0 {
		t.Error("no resync after a compaction was counted")
	}
	for _, w := range append(all, harmed) {
		if n := len(w.seen()); n < 4 {
			t.Errorf("an engine ticked %d times only", n)
		}
		h.check(t, w.seen(), "/routing/allocation/", "/service/")
	}
}

// A slow Tick does not stop the watch, and what came meanwhile costs one Tick.
func TestABurstCostsOneTick(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	ports := state.Register(schema, state.AllocationPattern, state.Integer)
	began, release := make(chan struct{}), make(chan struct{})
	var ticks atomic.Int32
	e := run(t, state.EngineConfig{Client: client, Schema: schema, Reactor: reactor(func(context.Context, state.Tick) ([]state.Group, error) {
		if got, ok := ports.Get("slow"); ok && got.Value == 1 && ticks.Load() == 0 {
			ticks.Add(1)
			close(began)
			<-release
		} else if ticks.Load() > 0 {
			ticks.Add(1)
		}
		return nil, nil
	})})
	put(t, client, state.AllocationKey("slow"), "1")
	<-began
	const burst = 500
	for i := range burst {
		put(t, client, state.AllocationKey(strconv.Itoa(i%10)), strconv.Itoa(i))
	}
	// Another's read proves that etcd has sent everything to its watchers.
	behind := newWatcher(t)
	run(t, state.EngineConfig{Client: client, Schema: behind.schema, Reactor: behind})
	time.Sleep(100 * time.Millisecond)
	close(release)
	await(t, e, "the burst is in the picture", func() bool { got, _ := ports.Get("9"); return got.Value == burst-1 })
	time.Sleep(50 * time.Millisecond)
	if n := ticks.Load(); n > 3 {
		t.Errorf("%d writes during one slow Tick cost %d Ticks more", burst, n-1)
	}
}

func TestTicksAreLimited(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	w, r := newWatcher(t), prometheus.NewRegistry()
	run(t, state.EngineConfig{Client: client, Schema: w.schema, Reactor: w, Registerer: r, TickInterval: 50 * time.Millisecond})
	began := time.Now()
	stop := writeForever(t, client)
	time.Sleep(500 * time.Millisecond)
	stop()
	if n, limit := metric(t, r, "ticks_total", ""), time.Since(began)/(50*time.Millisecond)+3; n > float64(limit) || n < 3 {
		t.Errorf("%v Ticks, want 3 to %d", n, limit)
	}
}

// An idle engine writes nothing and does not tick, whatever its reactor would
// like: groups that change nothing are no reason to look again.
func TestIdleEngineCostsNothing(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	put(t, client, state.AllocationKey("a"), "1")
	schema := state.NewSchema()
	state.Register(schema, state.AllocationPattern, state.Integer)
	r := prometheus.NewRegistry()
	run(t, state.EngineConfig{Client: client, Schema: schema, Registerer: r, SessionTTL: 2 * time.Second, Reactor: reactor(func(context.Context, state.Tick) ([]state.Group, error) {
		return []state.Group{
			set(state.AllocationKey("a"), "1"),
			{Name: "nothing", Apply: func(*state.Tx) error { return nil }},
			{Name: "delete nothing", Apply: func(tx *state.Tx) error { tx.Delete(state.AllocationKey("none")); return nil }},
			{Name: "skip", Apply: func(*state.Tx) error { return state.ErrSkip }},
		}, nil
	})})
	time.Sleep(200 * time.Millisecond)
	ticks := metric(t, r, "ticks_total", "")
	time.Sleep(time.Second)
	if now := metric(t, r, "ticks_total", ""); now != ticks {
		t.Errorf("an idle engine ticked %v times", now-ticks)
	}
	if n := metric(t, r, "commits_total", "committed"); n != 0 {
		t.Errorf("it committed %v times", n)
	}
}

// Whoever only observes keeps no values but the decoded ones, and can not be
// asked to write.
func TestObserverRefusesToCommit(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	w := newWatcher(t)
	e := run(t, state.EngineConfig{Client: client, Schema: w.schema})
	if err := e.Do(soon(t), set(state.AllocationKey("a"), "1")); err == nil || value(t, client, state.AllocationKey("a")) != "" {
		t.Errorf("Do on an observer: %v", err)
	}
}

func TestAwaitLooksAtNoPictureBeforeTheFirst(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	put(t, client, state.LeaderKey("a"), "n1")
	w := newWatcher(t)
	e, err := state.NewEngine(state.EngineConfig{Client: client, Schema: w.schema})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if e.Await(ctx, func() bool { _, ok := w.leaders.Get("a"); return !ok }) == nil {
		t.Error("a has no leader, says an engine that has not looked")
	}
}
