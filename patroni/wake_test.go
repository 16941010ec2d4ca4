package patroni_test

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// wakes runs a waker for testNode and returns a channel that gets each wake.
func wakes(t *testing.T, etcd *clientv3.Client) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	woken := make(chan struct{}, 100)
	ended := make(chan error, 1)
	wake := func(context.Context) error {
		woken <- struct{}{}
		return errors.New("patroni is busy")
	}
	go func() { ended <- patroni.RunWaker(ctx, testNode(), etcd, wake, fixtures.Log(t)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("waker ended with %v", err)
		}
	})
	return woken
}

func put(t *testing.T, etcd *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := etcd.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func wantWake(t *testing.T, woken <-chan struct{}, why string) {
	t.Helper()
	select {
	case <-woken:
	case <-time.After(fixtures.Patience):
		t.Fatalf("not woken: %s", why)
	}
}

func TestWaker(t *testing.T) {
	t.Parallel()
	etcd := fixtures.Etcd(t)
	node := testNode()
	own, other := state.MemberKey(node.InstanceID, node.NodeID), state.MemberKey(node.InstanceID, "other")
	leader := state.LeaderKey(node.InstanceID)
	woken := wakes(t, etcd)

	// As long as another leads, nothing that happens wakes this one.
	put(t, etcd, leader, "other")
	put(t, etcd, other, leaderJSON)
	put(t, etcd, own, creatingJSON)
	put(t, etcd, leader, node.NodeID)
	wantWake(t, woken, "this node leads now")
	put(t, etcd, other, creatingJSON)
	wantWake(t, woken, "another is being made")
	put(t, etcd, other, replicaJSON)
	wantWake(t, woken, "another runs")
	if _, err := etcd.Delete(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	wantWake(t, woken, "another is gone")

	// What a leader tells of itself, and how far others are, is no news.
	put(t, etcd, own, leaderJSON)
	put(t, etcd, own, oldJSON)
	put(t, etcd, leader, "other")
	put(t, etcd, other, replicaJSON)
	put(t, etcd, leader, node.NodeID)
	wantWake(t, woken, "this node leads again")
	if n := len(woken); n != 0 {
		t.Errorf("woken %d times without a reason", n)
	}
}
