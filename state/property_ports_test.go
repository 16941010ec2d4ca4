package state_test

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// Port allocation: 64 allocators in 8 processes that crash, lose answers and
// are cut off. Each id has exactly one port, each port one id, nextport is
// above them all, and there is no gap larger than the number of crashes.
func TestPropertyPorts(t *testing.T) {
	t.Parallel()
	const processes, callers, each = 8, 8, 3
	ports := state.Ports{First: 30000, Last: 30999}
	server := fixtures.EtcdServer(t)
	property(t, func(rt *rapid.T) {
		faults := append(script(rt, allTroubles...), script(rt, "crash", "eat")...)
		w := newWorld(t, oneMember(server), processes, func(int, int) (*state.Schema, state.Reactor) {
			schema := state.NewSchema()
			schema.Watch("/routing/")
			return schema, idle
		})
		var holders sync.Map // port to id
		var unknown atomic.Int64
		var running sync.WaitGroup
		for c := range processes * callers {
			running.Go(func() {
				for i := range each {
					id, port := fmt.Sprintf("%d-%d", c, i), 0
					err := w.procs[c%processes].do(state.Group{Name: "allocate", Apply: func(tx *state.Tx) (err error) {
						port, err = ports.Allocate(tx, id)
						return err
					}}, func() { unknown.Add(1) })
					if err != nil {
						t.Errorf("allocating for %s: %v", id, err)
						return
					}
					if other, taken := holders.LoadOrStore(port, id); taken {
						t.Errorf("port %d was told to %s and %s", port, other, id)
					}
				}
			})
		}
		w.play(faults)
		running.Wait()
		w.end()
		checkPorts(t, w, ports, processes*callers*each, &holders)
		failed(t, rt, faults)
	})
}

// checkPorts compares what etcd has with what the allocators were told.
func checkPorts(t *testing.T, w *world, ports state.Ports, want int, holders *sync.Map) {
	t.Helper()
	allocated := w.ints("/routing/allocation/")
	if len(allocated) != want {
		t.Errorf("%d ids have a port, want %d", len(allocated), want)
	}
	highest, byPort := 0, map[int]string{}
	for id, port := range allocated {
		if other, taken := byPort[port]; taken {
			t.Errorf("port %d has been given to %s and %s", port, id, other)
		}
		byPort[port] = id
		highest = max(highest, port)
		if told, _ := holders.Load(port); told != id {
			t.Errorf("port %d is %s's, %v was told so", port, id, told)
		}
		if holder := value(t, w.etcd.client, state.PortKey(port)); holder != id {
			t.Errorf("port %d is %s's, its key says %q", port, id, holder)
		}
	}
	next, err := strconv.Atoi(value(t, w.etcd.client, state.NextPortKey()))
	if err != nil || next <= highest {
		t.Errorf("nextport is %d (%v), the highest port %d", next, err, highest)
	}
	if gap := next - ports.First - len(byPort); gap > int(w.crashes.Load()) {
		t.Errorf("%d ports are left out after %d crashes", gap, w.crashes.Load())
	}
}
