package state_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// A host that fell silent is in the list, as it was; one that is there counts
// as it is now; and one that nobody noted yet is not left out.
func TestBackendsThatAreAndWere(t *testing.T) {
	t.Parallel()
	etcd := fixtures.Etcd(t)
	put := func(key string, v any) {
		b, err := json.Marshal(v)
		if err == nil {
			_, err = etcd.Put(t.Context(), key, string(b))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	seen := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	put(state.HostKey("10.0.0.1"), state.Host{Backend: state.Backend{ID: "10.0.0.1", Zone: "old"}, LastSeen: seen})
	put(state.BackendKey("10.0.0.1"), state.Backend{ID: "10.0.0.1", Zone: "new", DockerVersion: "28"})
	put(state.HostKey("10.0.0.2"), state.Host{Backend: state.Backend{ID: "10.0.0.2", Zone: "b", DockerVersion: "28"}, LastSeen: seen})
	put(state.BackendKey("10.0.0.3"), state.Backend{ID: "10.0.0.3"})
	put(state.BackendKey("10.0.0.4"), state.Backend{ID: "10.0.0.4", DockerVersion: "28", Full: true})

	schema := state.NewSchema()
	registered := state.Register(schema, state.BackendPattern, state.JSON[state.Backend])
	hosts := state.Register(schema, state.HostPattern, state.JSON[state.Host])
	engine, _ := fixtures.RunEngine(t, state.EngineConfig{Client: etcd, Schema: schema, Name: "test"})
	if err := engine.Await(t.Context(), func() bool { return registered.Len() == 3 }); err != nil {
		t.Fatal(err)
	}
	var list []state.KnownBackend
	engine.View(func() { list = state.Backends(registered, hosts) })
	want := []struct {
		id, zone string
		status   state.BackendStatus
		seen     time.Time
	}{
		{"10.0.0.1", "new", state.BackendHealthy, seen},
		{"10.0.0.2", "b", state.BackendUnreachable, seen},
		{"10.0.0.3", "", state.BackendDegraded, time.Time{}},
		{"10.0.0.4", "", state.BackendDegraded, time.Time{}},
	}
	if len(list) != len(want) {
		t.Fatalf("list = %+v", list)
	}
	for i, w := range want {
		if got := list[i]; got.ID != w.id || got.Zone != w.zone || got.Status != w.status || !got.LastSeen.Equal(w.seen) {
			t.Errorf("backend %d = %+v, want %+v", i, got, w)
		}
	}
}
