package registrar

import (
	"context"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// modelEtcd is an etcd in memory: linearizable, with leases that end. The
// world's mutex guards it.
type modelEtcd struct {
	revision int64
	keys     map[string]*modelKey
}

type modelKey struct {
	value             string
	created, modified int64
	// ends is when its lease does. Zero: never.
	ends time.Time
	// writer is the run of Patroni that put it last, nil for others.
	writer *modelRun
}

// get returns the key as it is now; one that is not there is zero.
func (e *modelEtcd) get(key string) modelKey {
	k, there := e.keys[key]
	if there && !k.ends.IsZero() && time.Now().After(k.ends) {
		delete(e.keys, key)
		there = false
	}
	if !there {
		return modelKey{}
	}
	return *k
}

func (e *modelEtcd) put(key, value string, writer *modelRun, ttl time.Duration) {
	e.revision++
	k := modelKey{value: value, created: e.get(key).created, modified: e.revision, writer: writer}
	if k.created == 0 {
		k.created = e.revision
	}
	if ttl > 0 {
		k.ends = time.Now().Add(ttl)
	}
	e.keys[key] = &k
}

func (e *modelEtcd) remove(key string) {
	e.revision++
	delete(e.keys, key)
}

// fate is what becomes of one message and its reply.
type fate struct {
	there, back         time.Duration
	lostThere, lostBack bool
}

// fateOf makes a fate of a number below 100: most messages are quick, some take
// longer than anybody waits for them, some are lost, some are done and not told.
func fateOf(n int) fate {
	f := fate{there: time.Duration(n) * time.Millisecond, back: time.Duration(n) * time.Millisecond / 2}
	switch n % 10 {
	case 7:
		f.there = time.Duration(n) * 40 * time.Millisecond
	case 8:
		f.back = time.Duration(n) * 40 * time.Millisecond
	case 9:
		f.lostThere, f.lostBack = n%20 == 9, n%20 == 19
	}
	return f
}

// modelLink is a way to etcd.
type modelLink struct {
	world *modelWorld
	fates []int
	next  atomic.Int64
	cut   atomic.Bool
}

// draw returns the next number below 100 of those that the play has.
func (l *modelLink) draw() int { return l.fates[int(l.next.Add(1))%len(l.fates)] }

// upTo returns a time below limit.
func (l *modelLink) upTo(limit time.Duration) time.Duration {
	return limit * time.Duration(l.draw()) / 100
}

// ask has apply done at etcd, in one moment, and returns when the reply is here
// or ctx ends. What was sent may be done long after that, or never.
func (l *modelLink) ask(ctx context.Context, apply func()) error {
	f := fate{there: time.Millisecond}
	if !l.world.calm.Load() {
		f = fateOf(l.draw())
	}
	answered := make(chan struct{})
	l.world.running.Go(func() {
		time.Sleep(f.there)
		if f.lostThere || l.cut.Load() {
			return
		}
		l.world.change(apply)
		time.Sleep(f.back)
		if !f.lostBack && !l.cut.Load() {
			close(answered)
		}
	})
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// modelKV is the etcd client that the fencer and the watchdog's killer get.
type modelKV struct {
	clientv3.KV
	link *modelLink
	// byCreation shows the create revision as if it were the mod revision.
	byCreation bool
}

func (kv modelKV) Get(ctx context.Context, key string, _ ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp := &clientv3.GetResponse{}
	err := kv.link.ask(ctx, func() {
		if k := kv.link.world.etcd.get(key); k.modified > 0 {
			resp.Kvs = []*mvccpb.KeyValue{{Key: []byte(key), Value: []byte(k.value), ModRevision: kv.revisionOf(k)}}
		}
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (kv modelKV) revisionOf(k modelKey) int64 {
	if kv.byCreation {
		return k.created
	}
	return k.modified
}

func (kv modelKV) Txn(ctx context.Context) clientv3.Txn { return &modelTxn{kv: kv, ctx: ctx} }

type modelTxn struct {
	clientv3.Txn
	kv         modelKV
	ctx        context.Context
	conditions []clientv3.Cmp
	ops        []clientv3.Op
}

func (t *modelTxn) If(conditions ...clientv3.Cmp) clientv3.Txn {
	t.conditions = conditions
	return t
}

func (t *modelTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.ops = ops
	return t
}

func (t *modelTxn) Commit() (*clientv3.TxnResponse, error) {
	resp := &clientv3.TxnResponse{}
	err := t.kv.link.ask(t.ctx, func() { resp.Succeeded = t.apply(t.kv.link.world) })
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (t *modelTxn) apply(w *modelWorld) bool {
	for _, c := range t.conditions {
		if !t.kv.holds(c, w.etcd.get(string(c.KeyBytes()))) {
			return false
		}
	}
	for _, op := range t.ops {
		key := string(op.KeyBytes())
		if op.IsPut() {
			w.etcd.put(key, string(op.ValueBytes()), nil, 0)
			continue
		}
		if key == state.LeaderKey(modelInstance) {
			w.fenced(w.etcd.get(key))
		}
		w.etcd.remove(key)
	}
	return true
}

// holds knows the conditions that are in use: equality.
func (kv modelKV) holds(c clientv3.Cmp, k modelKey) bool {
	wanted := c.GetCompare()
	switch wanted.Target {
	case etcdserverpb.Compare_VALUE:
		return string(wanted.GetValue()) == k.value
	case etcdserverpb.Compare_MOD:
		return wanted.GetModRevision() == kv.revisionOf(k)
	}
	panic("a condition that the model does not know")
}
