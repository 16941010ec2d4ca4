package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// scribe is an engine with a chronicle and nothing else, and a clock of its own.
type scribe struct {
	t         testing.TB
	client    *clientv3.Client
	engine    *state.Engine
	tables    *tables
	election  *state.Election
	chronicle *chronicle

	// mu guards now.
	mu  sync.Mutex
	now time.Time
}

// newScribe runs one until its stop is called or the test ends.
func newScribe(t testing.TB, client *clientv3.Client, cfg Config) (s *scribe, stop func()) {
	t.Helper()
	cfg = cfg.WithDefaults()
	s = &scribe{t: t, client: client, now: time.Now().UTC()}
	schema := state.NewSchema()
	s.tables = newTables(schema)
	s.election = state.NewElection(schema, "broker")
	s.chronicle = newChronicle(cfg, s.tables, s.election)
	s.engine, stop = fixtures.RunEngine(t, state.EngineConfig{Client: client, Schema: schema, Reactor: s, Name: "scribe", SessionTTL: time.Minute})
	return s, stop
}

func (s *scribe) Tick(_ context.Context, t state.Tick) ([]state.Group, error) {
	s.chronicle.note()
	if !s.election.Holds(t) {
		return s.election.Campaign(t, "scribe"), nil
	}
	return s.chronicle.drive(s.clock()), nil
}

func (s *scribe) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// pass lets time pass.
func (s *scribe) pass(d time.Duration) {
	s.mu.Lock()
	s.now = s.now.Add(d)
	s.mu.Unlock()
	s.engine.Wake()
}

// sweep lets so much time pass that a sweep is due, and waits for it.
func (s *scribe) sweep() {
	s.t.Helper()
	s.pass(sweepInterval)
	for limit := time.Now().Add(fixtures.Patience); s.chronicle.sweeper.due(s.clock()); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			s.t.Fatal("nothing is swept")
		}
	}
}

func (s *scribe) put(key string, value any, options ...clientv3.OpOption) {
	s.t.Helper()
	text, plain := value.(string)
	if !plain {
		b, err := json.Marshal(value)
		if err != nil {
			s.t.Fatal(err)
		}
		text = string(b)
	}
	if _, err := s.client.Put(s.t.Context(), key, text, options...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scribe) await(what string, cond func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), fixtures.Patience)
	defer cancel()
	if s.engine.Await(ctx, cond) != nil {
		s.t.Fatalf("did not come: %s; the log is:\n%s", what, strings.Join(s.log(), "\n"))
	}
}

// log returns the texts of the events.
func (s *scribe) log() (texts []string) {
	s.engine.View(func() { texts = s.texts() })
	return texts
}

func (s *scribe) texts() (texts []string) {
	for _, e := range s.tables.eventList(admin.EventFilter{}) {
		texts = append(texts, strings.TrimSpace(fmt.Sprintf("%s %s: %s", e.Kind, e.Instance, e.Text)))
	}
	return texts
}

// wantLog waits until the log holds exactly these.
func (s *scribe) wantLog(want ...string) {
	s.t.Helper()
	s.await("the log is "+strings.Join(want, "; "), func() bool { return strings.Join(s.texts(), "\n") == strings.Join(want, "\n") })
}

func instanceOf(id, operation string, op state.OperationType, is state.OperationState, description string) state.Instance {
	now := time.Now().UTC()
	return state.Instance{InstanceID: id, Operation: state.Operation{
		ID: operation, Type: op, State: is, Description: description, Started: now, Updated: now,
	}}
}

// TestEventsOfAnInstance: what happens to one is told once, in order, also when
// the writer is replaced in between.
func TestEventsOfAnInstance(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	s, stop := newScribe(t, client, Config{})
	s.put(state.InstanceKey("a"), instanceOf("a", "1", state.Provision, state.InProgress, ""))
	s.wantLog("operation a: provision begins")
	s.put(state.ClusterKey("a"), state.Cluster{InstanceID: "a", Nodes: []state.Node{{NodeID: "n1", BackendID: "h1"}, {NodeID: "n2", BackendID: "h2"}}})
	s.put(state.LeaderKey("a"), "n1")
	s.put(state.InstanceKey("a"), instanceOf("a", "1", state.Provision, state.Succeeded, ""))
	want := []string{"operation a: provision begins", "operation a: provision succeeded"}
	s.wantLog(want...)

	if _, err := client.Delete(t.Context(), state.LeaderKey("a")); err != nil {
		t.Fatal(err)
	}
	s.put(state.LeaderKey("a"), "n1") // the same one again: no failover
	s.put(state.LeaderKey("a"), "n2")
	want = append(want, "failover a: n2 on h2 leads, after n1 on h1")
	s.wantLog(want...)
	stop()

	// While nobody writes, another takes over.
	s.put(state.LeaderKey("a"), "n1")
	s.put(state.FenceKey("a"), state.Fence{Node: "n2", Backend: "h2", Cause: "deaf", Evidence: "no answer for 3s", At: time.Now().UTC()})
	s, _ = newScribe(t, client, Config{})
	want = append(want, "failover a: n1 on h1 leads, after n2 on h2", "fence a: n2 on h2 was killed: deaf: no answer for 3s")
	s.await("both are told", func() bool { return s.tables.events.Len() == len(want) })
	for _, text := range want {
		if n := strings.Count(strings.Join(s.log(), "\n"), text); n != 1 {
			t.Errorf("%q stands %d times in the log", text, n)
		}
	}
	told := func() state.Told { e, _ := s.tables.told.Get("a"); return e.Value }
	if e := told(); e.Leader != "n1" || e.Failover.IsZero() {
		t.Errorf("the log has been told %+v", e)
	}

	s.put(state.InstanceKey("a"), instanceOf("a", "2", state.Update, state.Failed, "not enough backends"))
	want = append(want, "operation a: update failed: not enough backends")
	s.await("the failure is told", func() bool { return s.tables.events.Len() == len(want) })
	if _, err := client.Delete(t.Context(), state.InstanceKey("a")); err != nil {
		t.Fatal(err)
	}
	s.await("the end is told, and what was told is forgotten", func() bool {
		return s.tables.told.Len() == 0 && strings.Contains(strings.Join(s.texts(), "\n"), "deprovision succeeded")
	})
}

// TestEventsAreToldOnce: of two writers, one of them always deposed, each change
// of a leader is told once.
func TestEventsAreToldOnce(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	one, _ := newScribe(t, client, Config{})
	two, _ := newScribe(t, client, Config{})
	one.put(state.InstanceKey("a"), instanceOf("a", "1", state.Provision, state.Succeeded, ""))
	one.put(state.LeaderKey("a"), "n0")
	one.await("the first leader is known", func() bool { e, _ := one.tables.told.Get("a"); return e.Value.Leader == "n0" })
	for n := 1; n <= 20; n++ {
		leader := fmt.Sprintf("n%d", n)
		one.put(state.LeaderKey("a"), leader)
		if n%3 == 0 {
			// Whoever holds the office loses it and does not know yet.
			one.put(state.ElectionKey("broker"), "somebody else")
			if _, err := client.Delete(t.Context(), state.ElectionKey("broker")); err != nil {
				t.Fatal(err)
			}
		}
		two.await(leader+" is told", func() bool { e, _ := two.tables.told.Get("a"); return e.Value.Leader == leader })
	}
	if got := len(two.log()); got != 20 {
		t.Errorf("20 failovers, %d events:\n%s", got, strings.Join(two.log(), "\n"))
	}
}

// TestFencesByClocksOfTheirOwn: a fence is told of whatever the clock of its host
// says, once.
func TestFencesByClocksOfTheirOwn(t *testing.T) {
	t.Parallel()
	s, _ := newScribe(t, fixtures.Etcd(t), Config{})
	s.put(state.InstanceKey("a"), instanceOf("a", "1", state.Provision, state.Succeeded, ""))
	s.await("the instance is known", func() bool { return s.tables.told.Len() == 1 })
	fence := state.Fence{Node: "n1", Backend: "h1", Cause: "deaf", Evidence: "no answer", At: time.Now().UTC()}
	s.put(state.FenceKey("a"), fence)
	want := []string{"fence a: n1 on h1 was killed: deaf: no answer"}
	s.wantLog(want...)
	s.put(state.FenceKey("a"), fence) // the same one again
	fence.Node, fence.Backend, fence.At = "n2", "h2", fence.At.Add(-time.Minute)
	s.put(state.FenceKey("a"), fence)
	want = append(want, "fence a: n2 on h2 was killed: deaf: no answer")
	s.wantLog(want...)
}

// TestNewLogSaysNothingOld: a log that begins on an old site does not make up
// history.
func TestNewLogSaysNothingOld(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	for n := range 250 {
		id := fmt.Sprint("i", n)
		for key, value := range map[string]any{
			state.InstanceKey(id): instanceOf(id, "1", state.Update, state.Succeeded, ""),
			state.FenceKey(id):    state.Fence{Node: "n", At: time.Now().UTC()},
		} {
			b, _ := json.Marshal(value)
			if _, err := client.Put(t.Context(), key, string(b)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := client.Put(t.Context(), state.LeaderKey(id), "n"); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := newScribe(t, client, Config{})
	s.await("every instance is known", func() bool { return s.tables.told.Len() == 250 })
	if log := s.log(); len(log) > 0 {
		t.Errorf("it says %v", log)
	}
}

// TestLogIsBounded by count, by which the oldest go, and by age.
func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	s, _ := newScribe(t, client, Config{EventsKept: 150, EventsAge: time.Hour})
	write := func(n int) {
		e := state.Event{Kind: state.EventSwitch, Text: fmt.Sprint(n)}.Stamped(s.clock())
		s.put(state.EventKey(e.ID), e)
	}
	for n := range 400 {
		write(n)
	}
	s.await("all came and the oldest are gone", func() bool {
		texts := s.texts()
		return len(texts) <= 150+sweepSize && len(texts) > 0 && texts[len(texts)-1] == "switch : 399"
	})
	s.sweep()
	s.await("no more are left than are to be kept", func() bool { return s.tables.events.Len() == 150 })
	if log := s.log(); log[0] != "switch : 250" || log[149] != "switch : 399" {
		t.Errorf("left are %s to %s", log[0], log[149])
	}
	s.pass(59 * time.Minute)
	write(400)
	s.pass(2 * time.Minute)
	s.await("what is too old is gone", func() bool { return s.tables.events.Len() == 1 })
}

// TestSwitchesOfRouters: what is known of a router's switch outlives a moment
// without the router, and not the router.
func TestSwitchesOfRouters(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	s, _ := newScribe(t, client, Config{})
	sw := state.Switch{Kind: state.RouterSwitch, Name: "10.0.0.5@-@1"}
	noted := func() bool { return s.tables.switched.Len() == 1 }
	lease := func() clientv3.OpOption {
		granted, err := client.Grant(t.Context(), 600)
		if err != nil {
			t.Fatal(err)
		}
		return clientv3.WithLease(granted.ID)
	}
	s.put(sw.Key(), "DISABLED", lease())
	s.await("the switch is noted", noted)
	s.wantLog("switch : router 10.0.0.5@-@1 disabled")

	remove := func() {
		if _, err := client.Delete(t.Context(), sw.Key()); err != nil {
			t.Fatal(err)
		}
		s.await("the router is gone", func() bool { return s.tables.routers.Switches.Len() == 0 })
	}
	remove()
	s.sweep()
	s.put(sw.Key(), "DISABLED", lease())
	s.await("the router is back", func() bool { return s.tables.routers.Switches.Len() == 1 })
	s.sweep()
	s.wantLog("switch : router 10.0.0.5@-@1 disabled")
	if !noted() {
		t.Error("what was known of the switch is gone")
	}
	remove()
	s.sweep()
	s.sweep()
	s.await("what was known is forgotten", func() bool { return s.tables.switched.Len() == 0 })
}

// TestSwitchesByHandAreTold, of whatever kind, with every spelling.
func TestSwitchesByHandAreTold(t *testing.T) {
	t.Parallel()
	s, _ := newScribe(t, fixtures.Etcd(t), Config{})
	replica, backend := state.ReplicaSwitchOf("a", "n1"), state.Switch{Kind: state.BackendSwitch, Name: "h1"}
	s.put(replica.Key(), "Disabled ")
	s.wantLog("switch a: replica n1 disabled")
	s.put(replica.Key(), "DISABLED") // it was
	s.put(backend.Key(), "disabled")
	s.wantLog("switch a: replica n1 disabled", "switch : backend h1 disabled")
	s.put(replica.Key(), "nonsense")
	s.wantLog("switch a: replica n1 disabled", "switch : backend h1 disabled", "switch a: replica n1 enabled")
	if _, err := s.client.Delete(t.Context(), backend.Key()); err != nil {
		t.Fatal(err)
	}
	s.await("the backend is enabled", func() bool { return len(s.texts()) == 4 && s.tables.switched.Len() == 0 })
	if by := s.tables.eventList(admin.EventFilter{})[0].By; by != "" {
		t.Errorf("it was %q, says the log", by)
	}
}

// TestEventsKeepTheirOrder: ids sort as times do, also within a second.
func TestEventsKeepTheirOrder(t *testing.T) {
	at := time.Date(2026, 11, 21, 15, 4, 5, 0, time.UTC)
	before := state.Event{}.Stamped(at)
	for _, step := range []time.Duration{time.Nanosecond, time.Millisecond, 999 * time.Millisecond, time.Second, 24 * time.Hour} {
		at = at.Add(step)
		if now := (state.Event{}).Stamped(at.In(time.FixedZone("", 3600))); cmp.Compare(before.ID, now.ID) >= 0 || now.At.Location() != time.UTC {
			t.Errorf("%s comes after %s", now.ID, before.ID)
		} else {
			before = now
		}
	}
}
