package state_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// A quiet table has no Tick come, and names nothing as changed, for a value
// that is no news. Its entries, and Await, are as etcd has them all the same.
func TestAQuietTableTellsOfNewsOnly(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	tens := func(before, now int) bool { return before/10 == now/10 }
	table := state.Register(schema, state.AllocationPattern, state.Integer).Quiet(tens)
	told := make(chan []string, 100)
	e := run(t, state.EngineConfig{Client: client, Schema: schema, Reactor: reactor(func(context.Context, state.Tick) ([]state.Group, error) {
		told <- slices.Concat(slices.Collect(table.Changed())...)
		return nil, nil
	})})
	lease, err := client.Grant(t.Context(), 600)
	if err != nil {
		t.Fatal(err)
	}
	next(t, told) // of the first picture
	for _, step := range []struct {
		what, key, value string
		lease            clientv3.LeaseID
		news             bool
	}{
		{"new", "a", "10", 0, true},
		{"the same", "a", "11", 0, false},
		{"another", "a", "20", 0, true},
		{"the same, under a lease", "a", "21", lease.ID, true},
		{"deleted", "a", "", 0, true},
		{"the same after it was deleted", "a", "21", 0, true},
		{"unreadable", "a", "?", 0, true},
		{"readable again", "a", "22", 0, true},
		{"the same, once more", "a", "23", 0, false},
		{"another's", "b", "1", 0, true},
	} {
		if step.value == "" {
			if _, err := client.Delete(t.Context(), state.AllocationKey(step.key)); err != nil {
				t.Fatal(err)
			}
		} else if _, err := client.Put(t.Context(), state.AllocationKey(step.key), step.value, clientv3.WithLease(step.lease)); err != nil {
			t.Fatal(err)
		}
		await(t, e, step.what, func() bool {
			got, ok := table.Get(step.key)
			want, err := strconv.Atoi(step.value)
			return got.Value == want && ok == (err == nil)
		})
		if !step.news {
			continue // if it is told, the next step finds it
		}
		if got := next(t, told); !slices.Equal(got, []string{step.key}) {
			t.Errorf("%s: told that %q changed, want %s", step.what, got, step.key)
		}
	}
}

// However much is written during a slow Tick, what waits for it is no more
// than what changed, and a little.
func TestASlowTickHoldsFewEvents(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	w, r := newWatcher(t), prometheus.NewRegistry()
	began, release := make(chan struct{}), make(chan struct{})
	var slow atomic.Bool
	e := run(t, state.EngineConfig{Client: client, Schema: w.schema, Registerer: r, Reactor: reactor(func(context.Context, state.Tick) ([]state.Group, error) {
		if _, ok := w.leaders.Get("slow"); ok && !slow.Swap(true) {
			close(began)
			<-release
		}
		return nil, nil
	})})
	other := newWatcher(t)
	witness := run(t, state.EngineConfig{Client: client, Schema: other.schema})
	put(t, client, state.LeaderKey("slow"), "")
	<-began
	put(t, client, state.AllocationKey("early"), "1")
	put(t, client, state.AllocationKey("early"), "2")
	const keys, rounds = 20, 300
	for i := range rounds {
		var ops []clientv3.Op
		for k := range keys {
			ops = append(ops, clientv3.OpPut(state.AllocationKey(fmt.Sprint(k)), strconv.Itoa(i)))
		}
		if _, err := client.Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	newest := func(ports *state.Table[string]) func() bool {
		return func() bool {
			count := 0
			for e := range ports.All() {
				if e.Value == strconv.Itoa(rounds-1) {
					count++
				}
			}
			early, _ := ports.Get("early")
			return count == keys && early.Value == "2"
		}
	}
	await(t, witness, "all is written", newest(other.ports))
	time.Sleep(100 * time.Millisecond) // the slow one's watch has it, too
	if n := metric(t, r, "waiting_events", ""); n <= keys || n > 300 {
		t.Errorf("%v events of %d keys wait after %d writes", n, keys, keys*rounds)
	}
	close(release)
	await(t, e, "the newest is in the picture", newest(w.ports))
	if n := metric(t, r, "waiting_events", ""); n != 0 {
		t.Errorf("%v events wait for nothing", n)
	}
}
