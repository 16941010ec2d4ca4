package state_test

import (
	"context"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// sweeping is a reactor that does nothing but sweep, and remembers the last value
// that each router's key had.
type sweeping struct {
	routers *state.Routers

	// mu guards last.
	mu   sync.Mutex
	last map[string]string
	// held ends a Tick that was told to hold.
	held chan struct{}
}

func (s *sweeping) Tick(context.Context, state.Tick) ([]state.Group, error) {
	s.note()
	if e, ok := s.routers.Switches.Get("b"); ok && e.Value == "hold" {
		<-s.held
	}
	return s.routers.Sweep("self"), nil
}

func (s *sweeping) note() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for params := range s.routers.Switches.Changed() {
		if e, ok := s.routers.Switches.Last(params[0]); ok {
			s.last[params[0]] = e.Value
		}
	}
}

// seen reports whether a router's key is known to have had a value last.
func (s *sweeping) seen(router, value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	got, ok := s.last[router]
	return ok && got == value
}

// start runs an engine that sweeps.
func (s *sweeping) start(t *testing.T, cfg state.EngineConfig) {
	t.Helper()
	cfg.Schema = state.NewSchema()
	s.routers = state.NewRouters(cfg.Schema)
	cfg.Reactor = s
	run(t, cfg)
}

// What a dead router has left goes, and nothing of others.
func TestSweepRemovesWhatDeadRoutersLeft(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	session, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	disable := func(key string, opts ...clientv3.OpOption) {
		if _, err := client.Put(t.Context(), key, state.Disabled, opts...); err != nil {
			t.Fatal(err)
		}
	}
	leased := clientv3.WithLease(session.ID)
	names := []string{"lives", "leased", "toggled", "foreign", "self"}
	for _, name := range names {
		disable("/state/instances/" + name)
		disable(state.RouterRecordKey(name))
	}
	for _, name := range []string{"lives", "toggled", "leased"} {
		disable(state.RouterSessionKey(name), leased)
	}
	disable("/state/instances/leased", leased)
	other, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	disable("/state/instances/foreign", clientv3.WithLease(other.ID))
	disable("/state/instances/to-come")
	(&sweeping{last: map[string]string{}}).start(t, state.EngineConfig{Client: client})
	gone := func(name string) bool {
		return value(t, client, "/state/instances/"+name) == "" && value(t, client, state.RouterRecordKey(name)) == ""
	}
	eventually(t, "the record of a router without a session is gone", func() bool { return value(t, client, state.RouterRecordKey("foreign")) == "" })
	// The session of two of them ends, and the third takes another in time.
	disable(state.RouterSessionKey("lives"))
	if _, err := client.Revoke(t.Context(), session.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "dead routers are forgotten", func() bool { return gone("toggled") && gone("leased") })
	for _, name := range []string{"lives", "foreign", "to-come", "self"} {
		if value(t, client, "/state/instances/"+name) != state.Disabled {
			t.Errorf("the key of %s is gone", name)
		}
	}
}

// A value that is written and lost between two Ticks is not missed, however much
// else happens.
func TestLastValueOfALostKey(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	s := &sweeping{last: map[string]string{}, held: make(chan struct{})}
	registry := prometheus.NewRegistry()
	s.start(t, state.EngineConfig{Client: client, Registerer: registry})
	put(t, client, "/state/instances/a", "")
	eventually(t, "the key is seen", func() bool { return s.seen("a", "") })
	put(t, client, "/state/instances/b", "hold")
	eventually(t, "a Tick takes long", func() bool { return s.seen("b", "hold") })
	put(t, client, "/state/instances/a", "DISABLED")
	if _, err := client.Delete(t.Context(), "/state/instances/a"); err != nil {
		t.Fatal(err)
	}
	for range 600 {
		put(t, client, "/state/instances/b", "x")
	}
	eventually(t, "what waits is folded", func() bool {
		return metric(t, registry, "waiting_events", "") < 600 && metric(t, registry, "waiting_events", "") > 0
	})
	close(s.held)
	eventually(t, "what came later is seen", func() bool { return s.seen("b", "x") })
	if !s.seen("a", "DISABLED") {
		t.Error("the last value of the lost key was missed")
	}
}
