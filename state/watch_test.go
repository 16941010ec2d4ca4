package state_test

import (
	"context"
	"errors"
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

// follower runs an engine behind a link that shows the leaders.
func follower(t *testing.T, client *clientv3.Client) (*state.Engine, *state.Table[string], *prometheus.Registry) {
	t.Helper()
	return patientFollower(t, client, 300*time.Millisecond)
}

// patientFollower is one that takes a silence for one only after so long.
func patientFollower(t *testing.T, client *clientv3.Client, silence time.Duration) (*state.Engine, *state.Table[string], *prometheus.Registry) {
	t.Helper()
	w, r := newWatcher(t), prometheus.NewRegistry()
	e := run(t, state.EngineConfig{Client: client, Schema: w.schema, Registerer: r, SilenceTimeout: silence})
	return e, w.leaders, r
}

func awaitLeader(t *testing.T, e *state.Engine, leaders *state.Table[string], want string) {
	t.Helper()
	await(t, e, "the leader is "+want, func() bool { got, _ := leaders.Get("a"); return got.Value == want })
}

// A watch that hangs without a word is given up, and everything is loaded.
func TestSilentWatch(t *testing.T) {
	for name, harm := range map[string]func(*fixtures.Link){
		"replies eaten": (*fixtures.Link).EatReplies, "black hole": (*fixtures.Link).BlackHole, "held": (*fixtures.Link).Hold,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := fixtures.EtcdServer(t)
			link := fixtures.NewLink(t, server.Endpoints()[0])
			e, leaders, r := follower(t, fixtures.EtcdClient(t, link.Addr()))
			put(t, server.Client(), state.LeaderKey("a"), "n1")
			awaitLeader(t, e, leaders, "n1") // the watch is open
			harm(link)
			if _, err := server.Client().Delete(t.Context(), state.LeaderKey("a")); err != nil {
				t.Fatal(err)
			}
			put(t, server.Client(), state.LeaderKey("a"), "n2")
			time.Sleep(time.Second)
			link.Heal()
			awaitLeader(t, e, leaders, "n2")
			if metric(t, r, "resyncs_total", "silent") == 0 {
				t.Error("the resync of a silent watch was not counted")
			}
		})
	}
}

// An engine whose keys are quiet on an etcd that is not is not silent: it is
// asked, answers, and is left alone.
func TestQuietIsNotSilent(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	// Patient, so that a machine that is slow to answer is not taken for silent.
	e, leaders, r := patientFollower(t, client, 4*time.Second)
	for i := range 60 {
		put(t, client, "/others", strconv.Itoa(i))
		time.Sleep(100 * time.Millisecond)
	}
	if n := metric(t, r, "resyncs_total", "silent"); n != 0 {
		t.Errorf("%v resyncs of a watch that was quiet", n)
	}
	put(t, client, state.LeaderKey("a"), "n1")
	awaitLeader(t, e, leaders, "n1")
}

// Others write and compact, far from our keys: a watch that breaks then goes
// on where progress had brought it, without a load.
func TestQuietPrefixOnABusyEtcd(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	client := server.Client()
	link := fixtures.NewLink(t, server.Endpoints()[0])
	e, leaders, r := follower(t, fixtures.EtcdClient(t, link.Addr()))
	var last int64
	for i := range 500 {
		last = put(t, client, "/others", strconv.Itoa(i))
	}
	time.Sleep(time.Second) // progress is asked for after 300 ms
	if _, err := client.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	link.Cut()
	link.Heal()
	put(t, client, state.LeaderKey("a"), "n1")
	awaitLeader(t, e, leaders, "n1")
	if n := metric(t, r, "resyncs_total", "compacted"); n != 0 {
		t.Errorf("%v loads although progress had passed the compaction", n)
	}
}

// Had progress not come so far, a compaction costs a load, whatever was ours.
func TestCompactionPastAQuietPrefix(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	client := server.Client()
	link := fixtures.NewLink(t, server.Endpoints()[0])
	e, leaders, r := follower(t, fixtures.EtcdClient(t, link.Addr()))
	link.Cut()
	var last int64
	for i := range 500 {
		last = put(t, client, "/others", strconv.Itoa(i))
	}
	if _, err := client.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	link.Heal()
	put(t, client, state.LeaderKey("a"), "n1")
	awaitLeader(t, e, leaders, "n1")
	if n := metric(t, r, "resyncs_total", "compacted"); n == 0 {
		t.Error("no load was counted")
	}
}

// A watch that etcd ends, because it has no leader, goes on where progress had
// brought it: what was compacted before that is not missed.
func TestProgressMovesWhereAWatchGoesOn(t *testing.T) {
	t.Parallel()
	cluster := fixtures.NewEtcdCluster(t)
	direct := cluster.Client()
	e, leaders, r := patientFollower(t, fixtures.EtcdClient(t, cluster.Endpoint(0)), 1500*time.Millisecond)
	put(t, direct, state.LeaderKey("a"), "n1")
	awaitLeader(t, e, leaders, "n1")
	var last int64
	for i := range 100 {
		last = put(t, direct, "/others", strconv.Itoa(i))
	}
	time.Sleep(2500 * time.Millisecond) // progress is asked for after 1.5 s
	if _, err := direct.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	cluster.Stop(1)
	cluster.Stop(2)
	eventually(t, "the watch has broken", func() bool { return metric(t, r, "watch_breaks_total", "") > 0 })
	cluster.Start(1)
	eventually(t, "etcd can be written to", func() bool {
		_, err := direct.Put(soon(t), state.LeaderKey("a"), "n2")
		return err == nil
	})
	awaitLeader(t, e, leaders, "n2")
	if n := metric(t, r, "resyncs_total", "compacted"); n != 0 {
		t.Errorf("%v loads although progress had passed the compaction", n)
	}
}

// A group that has lost runs again when the picture holds what it lost to, not
// over and over before that.
func TestWhoLostWaitsForThePicture(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	var gate sync.RWMutex
	e := writer(t, fixtures.EtcdLateWatch(t, server.Endpoints()[0], func() { gate.RLock(); defer gate.RUnlock() }))
	if err := e.Do(soon(t), increment("n")); err != nil {
		t.Fatal(err)
	}
	gate.Lock()
	put(t, server.Client(), state.AllocationKey("n"), "10")
	var runs atomic.Int32
	g := increment("n")
	apply := g.Apply
	g.Apply = func(tx *state.Tx) error { runs.Add(1); return apply(tx) }
	outcome := make(chan error, 1)
	go func() { outcome <- e.Do(soon(t), g) }()
	eventually(t, "the group has run", func() bool { return runs.Load() > 0 })
	time.Sleep(200 * time.Millisecond)
	early := runs.Load()
	gate.Unlock()
	if err := next(t, outcome); err != nil || early != 1 || runs.Load() != 2 {
		t.Errorf("the group ran %d times before and %d times in all (%v), want 1 and 2", early, runs.Load(), err)
	}
	if got := value(t, server.Client(), state.AllocationKey("n")); got != "11" {
		t.Errorf("n = %s, want 11", got)
	}
}

// On three members: the leadership moves, the member under the watch dies, it
// comes back. Nothing is lost, commits go on, and it is counted.
func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	cluster := fixtures.NewEtcdCluster(t)
	direct := cluster.Client()
	h := record(t, direct)
	w, r := newWatcher(t), prometheus.NewRegistry()
	// The first endpoint alone at first: it is known whom the watch is at.
	client := fixtures.EtcdClient(t, cluster.Endpoint(0))
	e := run(t, state.EngineConfig{Client: client, Schema: w.schema, Reactor: w, Registerer: r, SilenceTimeout: time.Second, CommitTimeout: time.Second})
	client.SetEndpoints(cluster.Endpoints()...)
	commit := func(i int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), fixtures.Patience)
		defer cancel()
		if err := e.Do(ctx, increment("n")); err != nil {
			t.Fatalf("increment %d: %v", i, err)
		}
		if err := e.Do(ctx, set(state.LeaderKey("a"), strconv.Itoa(i))); err != nil {
			t.Fatalf("set %d: %v", i, err)
		}
		awaitLeader(t, e, w.leaders, strconv.Itoa(i))
	}
	commit(1)
	if _, err := cluster.MoveLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	commit(2)
	cluster.Stop(0)
	commit(3)
	cluster.Start(0)
	leader, err := cluster.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	commit(4)
	cluster.Stop(leader)
	commit(5)
	eventually(t, "the counter can be read", func() bool {
		resp, err := direct.Get(t.Context(), state.AllocationKey("n"))
		return err == nil && len(resp.Kvs) == 1 && string(resp.Kvs[0].Value) == "5"
	})
	if metric(t, r, "watch_breaks_total", "")+metric(t, r, "resyncs_total", "silent") == 0 {
		t.Error("the death of the member under the watch was not counted")
	}
	h.check(t, w.seen(), "/routing/allocation/", "/service/")
}

// The elected one is cut off until its session is over and another is elected.
// What it still believes, and had on its way, fails when the link is healed.
func TestElectedOneBehindABlackHole(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	link := fixtures.NewLink(t, server.Endpoints()[0])
	candidate := func(name string, client *clientv3.Client) (*state.Engine, *state.Election) {
		schema := state.NewSchema()
		election := state.NewElection(schema, "driver")
		state.Register(schema, state.AllocationPattern, state.Integer)
		return run(t, state.EngineConfig{Client: client, Schema: schema, SessionTTL: 2 * time.Second, CommitTimeout: 500 * time.Millisecond,
			SilenceTimeout: time.Second,
			Reactor: reactor(func(_ context.Context, tick state.Tick) ([]state.Group, error) {
				return election.Campaign(tick, name), nil
			})}), election
	}
	drive := func(e *state.Engine, election *state.Election, who string) error {
		return e.Do(soon(t), state.Group{Name: "drive", Apply: func(tx *state.Tx) error {
			if err := election.Guard(tx); err != nil {
				return err
			}
			tx.Put(state.AllocationKey("driven"), []byte(who))
			return nil
		}})
	}
	old, oldOffice := candidate("1", fixtures.EtcdClient(t, link.Addr()))
	eventually(t, "the first drives", func() bool { return drive(old, oldOffice, "1") == nil })
	other, office := candidate("2", server.Client())
	if err := drive(other, office, "2"); !errors.Is(err, state.ErrDeposed) {
		t.Fatalf("there are two: %v", err)
	}
	link.BlackHole()
	late := make(chan error, 1)
	go func() { late <- drive(old, oldOffice, "1") }()
	eventually(t, "the second drives", func() bool { return drive(other, office, "2") == nil })
	link.Heal()
	if err := <-late; !errors.Is(err, state.ErrDeposed) {
		t.Errorf("what the deposed had on its way: %v, want ErrDeposed", err)
	}
	if got := value(t, server.Client(), state.AllocationKey("driven")); got != "2" {
		t.Errorf("driven by %s, want 2", got)
	}
	if got := value(t, server.Client(), state.ElectionKey("driver")); got != "2" {
		t.Errorf("the office is held by %s, want 2", got)
	}
}

// A reactor whose session is lost, behind a black hole, puts what it had last
// under the next one.
func TestLostSessionRegistersItsLastValues(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	link := fixtures.NewLink(t, server.Endpoints()[0])
	schema, r := state.NewSchema(), prometheus.NewRegistry()
	routers := state.Register(schema, state.RouterPattern, state.Text)
	key := state.RouterKey("10.0.0.5", 1)
	told := map[clientv3.LeaseID]bool{}
	e := run(t, state.EngineConfig{Client: fixtures.EtcdClient(t, link.Addr()), Schema: schema, SessionTTL: 2 * time.Second, Registerer: r,
		CommitTimeout: 500 * time.Millisecond, SilenceTimeout: time.Second,
		Reactor: reactor(func(_ context.Context, tick state.Tick) ([]state.Group, error) {
			told[tick.Lease] = true
			if got, ok := routers.Get("10.0.0.5@-@1"); tick.Lease == 0 || ok && got.Lease == tick.Lease {
				return nil, nil
			}
			return []state.Group{{Name: "register", Apply: func(tx *state.Tx) error {
				tx.PutLeased(key, []byte("last"))
				return nil
			}}}, nil
		})})
	await(t, e, "it is registered", func() bool { _, ok := routers.Get("10.0.0.5@-@1"); return ok })
	link.BlackHole()
	eventually(t, "etcd let the session expire", func() bool { return value(t, server.Client(), key) == "" })
	link.Heal()
	eventually(t, "it is registered again", func() bool { return value(t, server.Client(), key) == "last" })
	if metric(t, r, "sessions_lost_total", "") == 0 {
		t.Error("the loss was not counted")
	}
}
