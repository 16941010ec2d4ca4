package state_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// allocator is one process that hands out ports.
type allocator struct {
	t      *testing.T
	engine *state.Engine
	ports  state.Ports
}

func newAllocator(t *testing.T, client *clientv3.Client, ports state.Ports) allocator {
	t.Helper()
	schema := state.NewSchema()
	schema.Watch("/routing/")
	return allocator{t, run(t, state.EngineConfig{Client: client, Schema: schema, Reactor: idle}), ports}
}

func (a allocator) allocate(id string) (port int, err error) {
	err = a.engine.Do(a.t.Context(), state.Group{Name: "allocate", Apply: func(tx *state.Tx) (err error) {
		port, err = a.ports.Allocate(tx, id)
		return err
	}})
	return port, err
}

func (a allocator) release(id string) {
	a.t.Helper()
	err := a.engine.Do(a.t.Context(), state.Group{Name: "release", Apply: func(tx *state.Tx) error {
		return a.ports.Release(tx, id)
	}})
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a allocator) must(id string) int {
	a.t.Helper()
	port, err := a.allocate(id)
	if err != nil {
		a.t.Fatal(err)
	}
	return port
}

func TestAllocateIsPermanentAndUnique(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	a := newAllocator(t, client, state.Ports{First: 30000, Last: 30999})
	if first, again := a.must("a"), a.must("a"); first != 30000 || again != first {
		t.Errorf("a has %d, then %d; want 30000 twice", first, again)
	}
	if b := a.must("b"); b != 30001 {
		t.Errorf("b has %d, want 30001", b)
	}
	if got := value(t, client, state.NextPortKey()); got != "30002" {
		t.Errorf("nextport = %s, want 30002", got)
	}
	if got := value(t, client, state.PortKey(30001)); got != "b" {
		t.Errorf("port 30001 is held by %q, want b", got)
	}
}

// TestReadOnlyPorts: the port of the replicas is another than the leader's, as
// permanent, and comes free with it.
func TestReadOnlyPorts(t *testing.T) {
	t.Parallel()
	a := newAllocator(t, fixtures.Etcd(t), state.Ports{First: 30000, Last: 30001})
	main := a.must("a")
	var readOnly [2]int
	for i := range readOnly {
		err := a.engine.Do(t.Context(), state.Group{Name: "allocate", Apply: func(tx *state.Tx) (err error) {
			readOnly[i], err = a.ports.AllocateReadOnly(tx, "a")
			return err
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if readOnly[0] != readOnly[1] || readOnly[0] == main {
		t.Fatalf("main port %d, read-only ports %v", main, readOnly)
	}
	if _, err := a.allocate("b"); !errors.Is(err, state.ErrNoPort) {
		t.Fatalf("third port of two: %v", err)
	}
	a.release("a")
	a.must("b")
	a.must("c")
}

func TestReservedPortIsSkipped(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	put(t, client, state.PortKey(30000), "reserved: in use")
	a := newAllocator(t, client, state.Ports{First: 30000, Last: 30999})
	if port := a.must("a"); port != 30001 {
		t.Errorf("got %d, want 30001", port)
	}
}

func TestLostNextPortIsRebuilt(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	a := newAllocator(t, client, state.Ports{First: 30000, Last: 30999})
	for i := range 5 {
		a.must(fmt.Sprint(i))
	}
	a.release("2")
	if _, err := client.Delete(t.Context(), state.NextPortKey()); err != nil {
		t.Fatal(err)
	}
	if port := a.must("next"); port != 30005 {
		t.Errorf("got %d, want 30005: above the highest that is held", port)
	}
}

func TestEndOfTheRange(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	a := newAllocator(t, client, state.Ports{First: 30000, Last: 30002})
	for i := range 3 {
		a.must(fmt.Sprint(i))
	}
	_, err := a.allocate("one too many")
	if !errors.Is(err, state.ErrNoPort) || !strings.Contains(err.Error(), "no public port left in 30000-30002") {
		t.Fatalf("got %v", err)
	}
	a.release("1")
	if port := a.must("again"); port != 30001 {
		t.Errorf("got %d, want the one that came free, 30001", port)
	}
}

// 64 callers in 8 processes: every id gets one port, no port two ids.
func TestAllocationUnderContention(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	ports := state.Ports{First: 30000, Last: 30999}
	const processes, callers, each = 8, 8, 4
	var mu sync.Mutex
	held := map[int]string{}
	var wg sync.WaitGroup
	for p := range processes {
		a := newAllocator(t, client, ports)
		for c := range callers {
			wg.Go(func() {
				for i := range each {
					id := fmt.Sprintf("%d-%d-%d", p, c, i)
					port, err := a.allocate(id)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if other, taken := held[port]; taken {
						t.Errorf("port %d is held by %s and %s", port, other, id)
					}
					held[port] = id
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	const all = processes * callers * each
	if got, want := value(t, client, state.NextPortKey()), strconv.Itoa(ports.First+all); len(held) != all || got != want {
		t.Errorf("%d ports for %d ids, nextport %s, want %s", len(held), all, got, want)
	}
	for port, id := range held {
		if got := value(t, client, state.AllocationKey(id)); got != strconv.Itoa(port) {
			t.Errorf("%s was told %d, etcd says %s", id, port, got)
		}
	}
}

func TestParsePorts(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"30000-30999": true, "1-1": true,
		"": false, "30000": false, "0-10": false, "10-5": false, "1-65536": false, "a-b": false,
	} {
		if _, err := state.ParsePorts(text); (err == nil) != ok {
			t.Errorf("ParsePorts(%q): %v", text, err)
		}
	}
}
