package state_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/embedded"
)

// The property tests run engines against one etcd, each behind a link of its
// own, while a script of faults is played. rapid draws the script; its seed is
// printed when a property fails.

// trouble is one fault of a script: what, to whom, for how long.
type trouble struct {
	kind  string
	whom  int
	lasts time.Duration
}

func (tr trouble) String() string { return fmt.Sprintf("%s %d %v", tr.kind, tr.whom, tr.lasts) }

// script draws the faults of one run.
func script(rt *rapid.T, kinds ...string) []trouble {
	one := rapid.Custom(func(rt *rapid.T) trouble {
		return trouble{
			kind:  rapid.SampledFrom(kinds).Draw(rt, "kind"),
			whom:  rapid.IntRange(0, 99).Draw(rt, "whom"),
			lasts: time.Duration(rapid.IntRange(5, 60).Draw(rt, "ms")) * time.Millisecond,
		}
	})
	return rapid.SliceOfN(one, 5, 10).Draw(rt, "script")
}

// allTroubles has twice what is worst: a commit whose answer is lost.
var allTroubles = []string{"cut", "eat", "eat", "hole", "hold", "delay", "compact", "crash"}

// ground is the etcd of a world: one member, or the three of a cluster.
type ground struct {
	client  *clientv3.Client
	members []string
	cluster *fixtures.EtcdCluster
}

func oneMember(server *embedded.Etcd) ground {
	return ground{client: server.Client(), members: server.Endpoints()[:1]}
}

func threeMembers(cluster *fixtures.EtcdCluster) ground {
	return ground{client: cluster.Client(), members: cluster.Endpoints(), cluster: cluster}
}

// world is an etcd, and processes with an engine each that a script torments.
type world struct {
	t     *testing.T
	etcd  ground
	procs []*proc
	ctx   context.Context
	end   func()

	// crashes is how many processes have died.
	crashes atomic.Int64
}

// proc is a process: it runs an engine, and after a crash another. It reaches
// one member of etcd by a link, and the others directly.
type proc struct {
	world     *world
	link      *fixtures.Link
	endpoints []string
	// start makes what one life of the process needs.
	start func(life int) (*state.Schema, state.Reactor)

	// mu guards the rest.
	mu     sync.Mutex
	engine *state.Engine
	crash  context.CancelFunc
}

// newWorld empties the etcd and starts n processes on it.
func newWorld(t *testing.T, etcd ground, n int, start func(proc, life int) (*state.Schema, state.Reactor)) *world {
	t.Helper()
	if _, err := etcd.client.Delete(t.Context(), "", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &world{t: t, etcd: etcd, ctx: ctx}
	var running sync.WaitGroup
	for i := range n {
		mine := i % len(etcd.members)
		p := &proc{world: w, link: fixtures.NewLink(t, etcd.members[mine]), start: func(life int) (*state.Schema, state.Reactor) { return start(i, life) }}
		p.endpoints = slices.Clone(etcd.members)
		p.endpoints[mine] = p.link.Addr()
		w.procs = append(w.procs, p)
		running.Go(p.live)
	}
	w.end = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(w.end)
	return w
}

// live runs one engine after the other until the world ends.
func (p *proc) live() {
	for life := 0; p.world.ctx.Err() == nil; life++ {
		schema, reactor := p.start(life)
		client, err := state.Dial(p.endpoints)
		if err != nil {
			p.world.t.Error(err)
			return
		}
		e, err := state.NewEngine(state.EngineConfig{
			Client: client, Schema: schema, Reactor: reactor, Log: quiet,
			CommitTimeout: 200 * time.Millisecond, SilenceTimeout: 200 * time.Millisecond, TickInterval: 10 * time.Millisecond,
		})
		if err != nil {
			p.world.t.Error(err)
			return
		}
		ctx, crash := context.WithCancel(p.world.ctx)
		p.mu.Lock()
		p.engine, p.crash = e, func() { crash(); client.Close() }
		p.mu.Unlock()
		if err := e.Run(ctx); err != nil {
			p.world.t.Errorf("Run: %v", err)
		}
		crash()
		client.Close()
	}
}

// current returns the engine of the process's present life.
func (p *proc) current() *state.Engine {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.engine
}

// play torments the processes as the script says, one trouble at a time.
func (w *world) play(faults []trouble) {
	for _, tr := range faults {
		p := w.procs[tr.whom%len(w.procs)]
		p.harm(tr.kind)
		switch tr.kind {
		case "compact":
			w.compact()
		case "crash":
			w.crash(p)
		case "move":
			// Right after a member came back there may be nobody to move it to.
			_, _ = w.etcd.cluster.MoveLeader(w.ctx)
		case "stop":
			w.etcd.cluster.Stop(tr.whom % len(w.etcd.members))
		}
		time.Sleep(tr.lasts)
		if tr.kind == "stop" {
			w.etcd.cluster.Start(tr.whom % len(w.etcd.members))
		}
		p.link.Delay(0)
		p.link.Heal()
	}
}

// harm does to the process's link what the trouble's kind says, if it is of
// that sort.
func (p *proc) harm(kind string) {
	switch kind {
	case "cut":
		p.link.Cut()
	case "eat":
		p.link.EatReplies()
	case "hole":
		p.link.BlackHole()
	case "hold":
		p.link.Hold()
	case "delay":
		p.link.Delay(3 * time.Millisecond)
	}
}

func (w *world) crash(p *proc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.crash != nil {
		w.crashes.Add(1)
		p.crash()
	}
}

func (w *world) compact() {
	now, err := w.etcd.client.Get(w.ctx, "x")
	if err == nil {
		_, err = w.etcd.client.Compact(w.ctx, now.Header.Revision)
	}
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		w.t.Errorf("compacting: %v", err)
	}
}

// do commits g in the process, again in its next life if it dies meanwhile.
// unknown is told how often the group may have been committed besides.
func (p *proc) do(g state.Group, unknown func()) error {
	deadline := time.Now().Add(fixtures.Patience)
	for {
		err := errors.New("no engine yet")
		if e := p.current(); e != nil {
			err = e.Do(p.world.ctx, g)
		}
		if errors.Is(err, state.ErrUnknownOutcome) {
			unknown()
		}
		if err == nil || p.world.ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// ints is the contents of the integer keys under a prefix.
func (w *world) ints(prefix string) map[string]int {
	resp, err := w.etcd.client.Get(w.t.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]int{}
	for _, kv := range resp.Kvs {
		n, err := strconv.Atoi(string(kv.Value))
		if err != nil {
			w.t.Errorf("%s: %v", kv.Key, err)
		}
		out[string(kv.Key)[len(prefix):]] = n
	}
	return out
}

// add returns what increases integers by these amounts, in one group.
func add(name string, amounts map[string]int) state.Group {
	return state.Group{Name: name, Apply: func(tx *state.Tx) error {
		for id, amount := range amounts {
			n, _, err := state.Load(tx, state.AllocationKey(id), state.Integer)
			if err != nil {
				return err
			}
			tx.Put(state.AllocationKey(id), []byte(strconv.Itoa(n+amount)))
		}
		return nil
	}}
}

// receipts counts what a process was told of its groups.
type receipts struct{ sure, unsure atomic.Int64 }

func (c *receipts) done(err error) {
	switch {
	case err == nil:
		c.sure.Add(1)
	case errors.Is(err, state.ErrUnknownOutcome):
		c.unsure.Add(1)
	}
}

func (c *receipts) check(t *testing.T, what string, got int) {
	t.Helper()
	if least, most := int(c.sure.Load()), int(c.sure.Load()+c.unsure.Load()); got < least || got > most {
		t.Errorf("%s: %d were applied, %d were told as committed and %d as unknown", what, got, least, most-least)
	}
}

// ledger is a reactor that, at every Tick, looks whether the books are right
// and enters something more.
type ledger struct {
	accounts *state.Table[int]
	check    func(value func(id string) int)
	entry    func() map[string]int
	id       string
	receipts *receipts
	since    int64
	t        *testing.T
}

func (l *ledger) Tick(_ context.Context, tick state.Tick) ([]state.Group, error) {
	if tick.Revision < l.since {
		l.t.Errorf("a Tick at revision %d after %d", tick.Revision, l.since)
	}
	l.since = tick.Revision
	l.check(func(id string) int { got, _ := l.accounts.Get(id); return got.Value })
	var groups []state.Group
	for range 1 + rand.N(2) {
		entry := l.entry()
		entry[l.id] = 1 // how many this process has made
		g := add("entry", entry)
		g.Done = l.receipts.done
		groups = append(groups, g)
	}
	return groups, nil
}

// books runs n processes with a ledger each under a script, and returns the
// world at rest.
func books(t *testing.T, etcd ground, n int, faults []trouble, entry func() map[string]int, check func(func(string) int)) {
	told := make([]receipts, n)
	w := newWorld(t, etcd, n, func(p, _ int) (*state.Schema, state.Reactor) {
		schema := state.NewSchema()
		l := &ledger{t: t, check: check, entry: entry, id: fmt.Sprint("made-", p), receipts: &told[p]}
		l.accounts = state.Register(schema, state.AllocationPattern, state.Integer)
		return schema, l
	})
	w.play(faults)
	eventually(t, "every process has done something", func() bool {
		for i := range told {
			if told[i].sure.Load() == 0 {
				return false
			}
		}
		return true
	})
	w.end()
	final := w.ints("/routing/allocation/")
	check(func(id string) int { return final[id] })
	for i := range told {
		told[i].check(t, fmt.Sprintf("process %d", i), final[fmt.Sprint("made-", i)])
	}
}

// Bank: 10 processes move money between 25 accounts. The sum is 0 at every
// Tick, and each transfer told as made was made once.
func TestPropertyBank(t *testing.T) {
	t.Parallel()
	etcd := oneMember(fixtures.EtcdServer(t))
	property(t, func(rt *rapid.T) { bank(t, rt, etcd, 10, script(rt, allTroubles...)) })
}

// The same on three members, while their leadership moves and they come and go.
func TestPropertyBankOnThreeMembers(t *testing.T) {
	t.Parallel()
	etcd := threeMembers(fixtures.NewEtcdCluster(t))
	property(t, func(rt *rapid.T) {
		faults := script(rt, "move", "move", "cut", "eat", "compact", "crash")
		stop := trouble{"stop", rapid.IntRange(0, 2).Draw(rt, "stopped"), 300 * time.Millisecond}
		faults = slices.Insert(faults, rapid.IntRange(0, len(faults)).Draw(rt, "when"), stop, trouble{kind: "move"})
		bank(t, rt, etcd, 6, faults)
	})
}

func bank(t *testing.T, rt *rapid.T, etcd ground, processes int, faults []trouble) {
	books(t, etcd, processes, faults, func() map[string]int {
		amount, from, to := 1+rand.N(100), rand.N(25), rand.N(24)
		if to >= from {
			to++
		}
		return map[string]int{fmt.Sprint("account-", from): -amount, fmt.Sprint("account-", to): amount}
	}, func(value func(string) int) {
		sum := 0
		for i := range 25 {
			sum += value(fmt.Sprint("account-", i))
		}
		if sum != 0 {
			t.Errorf("the bank holds %d, want 0", sum)
		}
	})
	failed(t, rt, faults)
}

// Sum matrix: each process adds to a cell, its row's sum, its column's and the
// total. They agree at every Tick.
func TestPropertySumMatrix(t *testing.T) {
	t.Parallel()
	const size = 4
	server := fixtures.EtcdServer(t)
	property(t, func(rt *rapid.T) {
		faults := script(rt, allTroubles...)
		books(t, oneMember(server), 5, faults, func() map[string]int {
			r, c := rand.N(size), rand.N(size)
			return map[string]int{fmt.Sprintf("%d-%d", r, c): 1, fmt.Sprint("row-", r): 1, fmt.Sprint("col-", c): 1, "total": 1}
		}, func(value func(string) int) {
			total := 0
			for i := range size {
				row, col := 0, 0
				for j := range size {
					row += value(fmt.Sprintf("%d-%d", i, j))
					col += value(fmt.Sprintf("%d-%d", j, i))
				}
				if row != value(fmt.Sprint("row-", i)) || col != value(fmt.Sprint("col-", i)) {
					t.Errorf("row or column %d does not add up", i)
				}
				total += row
			}
			if total != value("total") {
				t.Errorf("the cells hold %d, the total says %d", total, value("total"))
			}
		})
		failed(t, rt, faults)
	})
}

// failed ends a check that failed, so that rapid tells its seed.
func failed(t *testing.T, rt *rapid.T, faults []trouble) {
	if t.Failed() {
		rt.Fatalf("failed under the script %v", faults)
	}
}

// Register: one adds, all read. What a read returns is never older than what
// any read had returned before it began, in whichever process.
func TestPropertyRegister(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	property(t, func(rt *rapid.T) {
		faults := script(rt, allTroubles...)
		tables := make([]atomic.Pointer[state.Table[int]], 4)
		w := newWorld(t, oneMember(server), len(tables), func(p, _ int) (*state.Schema, state.Reactor) {
			schema := state.NewSchema()
			tables[p].Store(state.Register(schema, state.AllocationPattern, state.Integer))
			return schema, idle
		})
		var newest atomic.Int64
		var counted receipts
		ctx, cancel := context.WithCancel(w.ctx)
		var running sync.WaitGroup
		for i, p := range w.procs {
			running.Go(func() {
				for ctx.Err() == nil {
					before, got := newest.Load(), 0
					g := state.Group{Name: "read", Apply: func(tx *state.Tx) (err error) {
						got, _, err = state.Load(tx, state.AllocationKey("register"), state.Integer)
						return err
					}}
					if i == 0 {
						g = add("write", map[string]int{"register": 1})
						apply := g.Apply
						g.Apply = func(tx *state.Tx) error {
							err := apply(tx)
							got, _, _ = state.Load(tx, state.AllocationKey("register"), state.Integer)
							return err
						}
					}
					if err := p.do(g, func() { counted.unsure.Add(1) }); err != nil {
						if w.ctx.Err() == nil {
							t.Errorf("%s: %v", g.Name, err)
						}
						return
					}
					if i == 0 {
						counted.sure.Add(1)
					}
					if int64(got) < before {
						t.Errorf("process %d read %d after %d had been read", i, got, before)
					}
					for old := newest.Load(); int64(got) > old && !newest.CompareAndSwap(old, int64(got)); {
						old = newest.Load()
					}
				}
			})
		}
		w.play(faults)
		cancel()
		running.Wait()
		w.end()
		counted.check(t, "register", w.ints("/routing/allocation/")["register"])
		failed(t, rt, faults)
	})
}

// quiet logs nothing: what the engines say under faults would bury a failure.
var quiet = slog.New(slog.DiscardHandler)
