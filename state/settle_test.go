package state_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// mode is what becomes of one transaction; send delivers it.
type mode func(send func() error) error

// courier carries transactions as its mode says.
type courier struct{ mode atomic.Pointer[mode] }

func (c *courier) set(m mode) { c.mode.Store(&m) }

func (c *courier) carry(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, send grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	deliver := func() error { return send(context.WithoutCancel(ctx), method, req, reply, cc, opts...) }
	if m := c.mode.Load(); m != nil {
		return (*m)(deliver)
	}
	return deliver()
}

var errLost = status.Error(codes.Unavailable, "the answer is lost")

// times makes a mode of m for the first n transactions.
func times(n int32, m mode) mode {
	return func(send func() error) error {
		if atomic.AddInt32(&n, -1) < 0 {
			return send()
		}
		return m(send)
	}
}

// Whatever becomes of a transaction and its answer on the way, it is applied
// exactly once.
func TestEachCommitIsAppliedOnce(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	for name, m := range map[string]mode{
		"lost on the way":        times(2, func(func() error) error { return errLost }),
		"answer lost":            times(1, func(send func() error) error { _ = send(); return errLost }),
		"answer lost twice":      times(2, func(send func() error) error { _ = send(); return errLost }),
		"delivered twice":        times(5, func(send func() error) error { _ = send(); return send() }),
		"lost, then twice, lost": times(4, func(send func() error) error { _ = send(); _ = send(); return errLost }),
	} {
		t.Run(name, func(t *testing.T) {
			var c courier
			e := writer(t, fixtures.EtcdTxns(t, server.Endpoints()[0], c.carry))
			c.set(m)
			if _, err := server.Client().Delete(t.Context(), state.AllocationKey("n")); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				if err := e.Do(soon(t), increment("n")); err != nil {
					t.Fatal(err)
				}
			}
			if got := value(t, server.Client(), state.AllocationKey("n")); got != "5" {
				t.Errorf("5 increments left %s", got)
			}
		})
	}
}

// An attempt that arrives after its group was told that it had lost must not
// be applied, even if what it compares is so again.
func TestALateAttemptIsNotApplied(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	client := server.Client()
	var c courier
	e := writer(t, fixtures.EtcdTxns(t, server.Endpoints()[0], c.carry))
	if err := e.Do(soon(t), increment("warm")); err != nil {
		t.Fatal(err)
	}
	gate, written := state.AllocationKey("gate"), state.AllocationKey("written")
	var late func() error
	c.set(times(1, func(send func() error) error {
		late = send
		put(t, client, gate, "1")
		return errLost
	}))
	err := e.Do(soon(t), state.Group{Name: "while the gate is open", Apply: func(tx *state.Tx) error {
		if _, shut := tx.Get(gate); shut {
			return state.ErrSkip
		}
		tx.Put(written, []byte("1"))
		return nil
	}})
	if !errors.Is(err, state.ErrSkip) {
		t.Fatalf("got %v, want that the group skips", err)
	}
	if _, err := client.Delete(t.Context(), gate); err != nil {
		t.Fatal(err)
	}
	if err := late(); err != nil {
		t.Fatal(err)
	}
	if got := value(t, client, written); got != "" {
		t.Errorf("a group that was told it skipped has written %q", got)
	}
}

// A read has no outcome to be unsure of.
func TestALostReadIsReadAgain(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	var c courier
	e := writer(t, fixtures.EtcdTxns(t, server.Endpoints()[0], c.carry))
	if err := e.Do(soon(t), set(state.AllocationKey("n"), "1")); err != nil {
		t.Fatal(err)
	}
	c.set(times(1, func(func() error) error {
		put(t, server.Client(), state.AllocationKey("n"), "2")
		return errLost
	}))
	var got string
	err := e.Do(soon(t), state.Group{Name: "read", Apply: func(tx *state.Tx) error {
		kv, _ := tx.Get(state.AllocationKey("n"))
		got = string(kv.Value)
		return nil
	}})
	if err != nil || got != "2" {
		t.Errorf("read %q (%v), want 2", got, err)
	}
}

// A marker whose lease is gone is made anew; only a commit that was uncertain
// at that moment is told as unknown.
func TestLostMarker(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	client := server.Client()
	dropMarkers := func() {
		leases, err := client.Leases(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range leases.Leases {
			if _, err := client.Revoke(t.Context(), l.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	var c courier
	e := writer(t, fixtures.EtcdTxns(t, server.Endpoints()[0], c.carry))
	for range 3 {
		if err := e.Do(soon(t), increment("n")); err != nil {
			t.Fatal(err)
		}
		dropMarkers()
	}
	if got := value(t, client, state.AllocationKey("n")); got != "3" {
		t.Errorf("3 increments left %s", got)
	}
	if err := e.Do(soon(t), increment("n")); err != nil {
		t.Fatal(err)
	}
	c.set(times(1, func(send func() error) error {
		_ = send()
		dropMarkers()
		return errLost
	}))
	if err := e.Do(soon(t), increment("n")); !errors.Is(err, state.ErrUnknownOutcome) {
		t.Errorf("a commit whose answer and marker are lost: %v, want ErrUnknownOutcome", err)
	}
	if err := e.Do(soon(t), increment("after")); err != nil {
		t.Errorf("the next commit: %v", err)
	}
}

// ctx ends everything within a second, also when etcd hangs, and whoever
// waited is told what is known.
func TestStopIsQuick(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(*fixtures.Link){
		"healthy": func(*fixtures.Link) {}, "cut": (*fixtures.Link).Cut, "black hole": (*fixtures.Link).BlackHole,
		"hold": (*fixtures.Link).Hold, "replies eaten": (*fixtures.Link).EatReplies,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := fixtures.EtcdServer(t)
			link := fixtures.NewLink(t, server.Endpoints()[0])
			schema := state.NewSchema()
			state.Register(schema, state.AllocationPattern, state.Integer)
			e, err := state.NewEngine(state.EngineConfig{
				Client: fixtures.EtcdClient(t, link.Addr()), Schema: schema, Reactor: idle, SessionTTL: 10 * time.Second, Log: fixtures.Log(t),
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- e.Run(ctx) }()
			if err := e.Do(soon(t), increment("n")); err != nil {
				t.Fatal(err)
			}
			harm(link)
			outcome := make(chan error, 1)
			go func() {
				outcome <- e.Do(context.WithoutCancel(ctx), increment("n"))
			}()
			time.Sleep(200 * time.Millisecond)
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("Run: %v", err)
				}
			case <-soon(t).Done():
				t.Fatal("Run does not end with its ctx")
			}
			switch err := <-outcome; {
			case err == nil:
				if got := value(t, server.Client(), state.AllocationKey("n")); got != "2" {
					t.Errorf("Do succeeded, n = %s", got)
				}
			case !errors.Is(err, state.ErrStopped) || !errors.Is(err, state.ErrUnknownOutcome):
				t.Errorf("a commit that was under way ended with %v, want ErrStopped and ErrUnknownOutcome", err)
			}
		})
	}
}

// A reactor that finishes is told by Run's error what was not committed.
func TestFinishTellsWhatWasNotCommitted(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	state.Register(schema, state.AllocationPattern, state.Integer)
	bad := state.Group{Name: "the bad one", Apply: func(tx *state.Tx) error { tx.Put("/elsewhere", nil); return nil }}
	e, err := state.NewEngine(state.EngineConfig{Client: client, Schema: schema, Log: fixtures.Log(t), Reactor: reactor(func(context.Context, state.Tick) ([]state.Group, error) {
		return []state.Group{increment("a"), bad, {Name: "skip", Apply: func(*state.Tx) error { return state.ErrSkip }}, increment("b")}, state.ErrFinished
	})})
	if err != nil {
		t.Fatal(err)
	}
	err = e.Run(t.Context())
	if want := `not committed: "the bad one": group the bad one: key /elsewhere is outside the watched prefixes`; err == nil || err.Error() != want {
		t.Errorf("Run: %v, want %s", err, want)
	}
	if a, b := value(t, client, state.AllocationKey("a")), value(t, client, state.AllocationKey("b")); a != "1" || b != "1" {
		t.Errorf("a = %q, b = %q, want 1 and 1", a, b)
	}
}

// A caller whose group never gets through does not keep an engine going whose
// reactor has finished.
func TestFinishDoesNotWaitForCallers(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	leaders := state.Register(schema, state.LeaderPattern, state.Text)
	state.Register(schema, state.AllocationPattern, state.Integer)
	e, err := state.NewEngine(state.EngineConfig{Client: client, Schema: schema, Log: fixtures.Log(t), Reactor: reactor(func(context.Context, state.Tick) ([]state.Group, error) {
		if _, end := leaders.Get("end"); !end {
			return nil, nil
		}
		return []state.Group{increment("last")}, state.ErrFinished
	})})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx := soon(t)
	go func() { ended <- e.Run(ctx) }()
	waiting := loseForever(t, client, e)
	eventually(t, "a caller waits", func() bool { return waiting.Load() > 3 })
	put(t, client, state.LeaderKey("end"), "")
	if err := <-ended; err != nil || ctx.Err() != nil {
		t.Errorf("Run: %v, %v", err, ctx.Err())
	}
	if got := value(t, client, state.AllocationKey("last")); got != "1" {
		t.Errorf("the last group has written %q", got)
	}
}

// When ctx ends first, Run's error tells what it does not know.
func TestFinishIsCutShort(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var c courier
	c.set(func(func() error) error {
		cancel()
		return errLost
	})
	schema := state.NewSchema()
	state.Register(schema, state.AllocationPattern, state.Integer)
	e, err := state.NewEngine(state.EngineConfig{
		Client: fixtures.EtcdTxns(t, server.Endpoints()[0], c.carry), Schema: schema, Log: fixtures.Log(t),
		Reactor: reactor(func(context.Context, state.Tick) ([]state.Group, error) {
			return []state.Group{increment("a")}, state.ErrFinished
		})})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(ctx); !errors.Is(err, state.ErrStopped) || !errors.Is(err, state.ErrUnknownOutcome) {
		t.Errorf("Run: %v, want it to tell that the outcome of a group is unknown", err)
	}
}

// The end of an engine leaves no caller waiting.
func TestNoCallerIsLeftWaiting(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	for round := range 10 {
		schema := state.NewSchema()
		state.Register(schema, state.AllocationPattern, state.Integer)
		e, err := state.NewEngine(state.EngineConfig{Client: client, Schema: schema, Reactor: idle})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		var told atomic.Int64
		for range 8 {
			callers.Go(func() {
				for {
					err := e.Do(context.WithoutCancel(ctx), increment(strconv.Itoa(round)))
					if errors.Is(err, state.ErrStopped) {
						return
					}
					if err != nil {
						t.Error(err)
					}
					told.Add(1)
				}
			})
		}
		time.AfterFunc(time.Duration(20+round*7)*time.Millisecond, cancel)
		if err := e.Run(ctx); err != nil {
			t.Error(err)
		}
		callers.Wait()
		// All that was told as committed is; a stopped commit may be, too, as one.
		got, _ := strconv.ParseInt(value(t, client, state.AllocationKey(strconv.Itoa(round))), 10, 64)
		if got < told.Load() || got > told.Load()+8 {
			t.Errorf("%d increments were told as committed, %d were", told.Load(), got)
		}
	}
	if resp, err := client.Get(t.Context(), "/engine/", clientv3.WithPrefix()); err != nil || len(resp.Kvs) != 0 {
		t.Errorf("the ended engines left %d markers (%v)", len(resp.Kvs), err)
	}
}
