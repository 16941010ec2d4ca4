package registrar

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// deathbed is a leader that has just died, with everything that can happen
// around the deletion of its key.
type deathbed struct {
	*testing.T
	etcd  *clientv3.Client // on the other side of link
	link  *fixtures.Link
	fence *fencer
	death death
	// beforeTxn is called before each transaction is sent.
	beforeTxn func()
	// found is what Docker says of the container.
	found container
}

const (
	fencedInstance = "db1"
	fencedNode     = "n1"
)

func newDeathbed(t *testing.T) *deathbed {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	b := &deathbed{T: t, etcd: server.Client(), link: fixtures.NewLink(t, server.Endpoints()[0]), beforeTxn: func() {}}
	through, err := state.Dial([]string{b.link.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { through.Close() })
	started := time.Now().Add(-time.Minute)
	b.death = death{run: run{"id1", started}, at: time.Now()}
	b.found = container{id: "id1", startedAt: started, diedAt: time.Now()}
	b.fence = &fencer{
		etcd:    meddledKV{through, func() { b.beforeTxn() }},
		inspect: func(context.Context, string) (container, bool, error) { return b.found, true, nil },
		log:     fixtures.Log(t), fencings: newFencings(nil, "b"),
	}
	return b
}

// meddledKV lets something happen between the reading of the key and the
// transaction.
type meddledKV struct {
	clientv3.KV
	beforeTxn func()
}

func (m meddledKV) Txn(ctx context.Context) clientv3.Txn {
	m.beforeTxn()
	return m.KV.Txn(ctx)
}

// lead puts the leader key, as Patroni does: under a lease of its own, over
// what may be there.
func (b *deathbed) lead(node string) {
	b.Helper()
	lease, err := b.etcd.Grant(b.Context(), 60)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := b.etcd.Put(b.Context(), state.LeaderKey(fencedInstance), node, clientv3.WithLease(lease.ID)); err != nil {
		b.Fatal(err)
	}
}

func (b *deathbed) leader() (string, bool) {
	b.Helper()
	resp, err := b.etcd.Get(b.Context(), state.LeaderKey(fencedInstance))
	if err != nil {
		b.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return "", false
	}
	return string(resp.Kvs[0].Value), true
}

// expect fences and checks how it ended, and who leads then.
func (b *deathbed) expect(want verdict, leader string) {
	b.Helper()
	got, err := b.fence.fence(b.Context(), fencedInstance, fencedNode, b.death)
	if err != nil || got != want {
		b.Errorf("fence = %v, %v, want %v", got, err, want)
	}
	if now, _ := b.leader(); now != leader {
		b.Errorf("leader is %q then, want %q", now, leader)
	}
}

func TestFenceReleasesTheKeyOfTheDead(t *testing.T) {
	b := newDeathbed(t)
	b.lead(fencedNode)
	b.expect(released, "")
}

func TestFenceLeavesOthersAlone(t *testing.T) {
	b := newDeathbed(t)
	b.expect(vacant, "")
	b.lead("n2")
	b.expect(elsewhere, "n2")
}

// Patroni, started again under the same name, puts its own key anew: same
// value, same create revision. A transaction that comes late must not touch it.
func TestLateTransactionLeavesTheKeyThatWasPutAnew(t *testing.T) {
	b := newDeathbed(t)
	b.lead(fencedNode)
	b.beforeTxn = sync.OnceFunc(func() { b.lead(fencedNode) })
	b.expect(moved, fencedNode)
}

// The reply is lost: nobody knows whether the deletion was done.
func TestUnknownOutcomeIsSettled(t *testing.T) {
	b := newDeathbed(t)
	b.lead(fencedNode)
	b.beforeTxn = sync.OnceFunc(func() {
		b.link.EatReplies()
		time.AfterFunc(200*time.Millisecond, b.link.Heal)
	})
	b.expect(released, "")
}

// The deletion never arrives, and before it is repeated the node leads again.
func TestUnknownOutcomeIsNotRepeatedOnANewKey(t *testing.T) {
	b := newDeathbed(t)
	b.lead(fencedNode)
	b.beforeTxn = sync.OnceFunc(func() {
		b.link.Cut()
		b.lead(fencedNode)
		time.AfterFunc(200*time.Millisecond, b.link.Heal)
	})
	b.expect(moved, fencedNode)
}

// The deletion was done, its reply was lost, and then the node leads again.
func TestUnknownOutcomeDoesNotDeleteTwice(t *testing.T) {
	b := newDeathbed(t)
	b.lead(fencedNode)
	b.beforeTxn = sync.OnceFunc(func() {
		b.link.EatReplies()
		time.AfterFunc(300*time.Millisecond, func() {
			if _, there := b.leader(); there {
				b.Error("the deletion did not arrive")
			}
			b.lead(fencedNode)
			b.link.Heal()
		})
	})
	b.expect(moved, fencedNode)
}

// A death that is not fresh is old news if the container was started again:
// the key may be the new run's.
func TestOldDeathIsNoProof(t *testing.T) {
	b := newDeathbed(t)
	b.lead(fencedNode)
	b.death.at = time.Now().Add(-time.Second)
	b.found.startedAt = time.Now()
	for _, byEvent := range []bool{true, false} {
		b.death.byEvent = byEvent
		b.found.running = true
		b.expect(alive, fencedNode)
		b.found.running = false // it died again, which is another death
		b.expect(alive, fencedNode)
	}
}

// A fresh die event is proof enough: asking Docker would take its time.
func TestFreshEventNeedsNoInspection(t *testing.T) {
	b := newDeathbed(t)
	b.lead(fencedNode)
	b.fence.inspect = func(context.Context, string) (container, bool, error) {
		return container{}, false, errors.New("asked")
	}
	// However long etcd takes on a busy machine, the event is fresh.
	b.fence.limit, b.fence.fresh = time.Minute, time.Minute
	b.death.at, b.death.heardAt, b.death.byEvent = time.Now(), time.Now(), true
	b.expect(released, "")
}

// An old event does not become fresh because the clock was set back.
func TestClockThatIsSetBackMakesNoEventFresh(t *testing.T) {
	b := newDeathbed(t)
	b.lead(fencedNode)
	b.fence.fresh = time.Minute
	b.death.at, b.death.heardAt, b.death.byEvent = time.Now(), time.Now().Add(-time.Hour), true
	b.found.running, b.found.startedAt = true, time.Now()
	b.expect(alive, fencedNode)
}

func TestFenceWaitsForEtcdForALimitedTime(t *testing.T) {
	b := newDeathbed(t)
	b.lead(fencedNode)
	b.link.Cut()
	b.fence.limit = 1200 * time.Millisecond
	began := time.Now()
	b.expect(unsettled, fencedNode)
	if took := time.Since(began); took < b.fence.limit || took > 10*time.Second {
		t.Errorf("it gave up after %v", took)
	}
	time.AfterFunc(100*time.Millisecond, b.link.Heal)
	b.fence.limit = 10 * time.Second
	b.expect(released, "")
}

func TestFenceEndsWithItsContext(t *testing.T) {
	b := newDeathbed(t)
	b.lead(fencedNode)
	b.link.Cut()
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(errNewGoal) })
	if _, err := b.fence.fence(ctx, fencedInstance, fencedNode, b.death); !errors.Is(err, errNewGoal) {
		t.Errorf("fence = %v, want %v", err, errNewGoal)
	}
}
