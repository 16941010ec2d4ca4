package state_test

import (
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// A key that is put under a lease of the caller's goes with it, and one that is
// put under a lease that is gone is not put at all.
func TestPutUnder(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	e := writer(t, client)
	key := state.AllocationKey("leased")
	under := func(lease clientv3.LeaseID) error {
		return e.Do(t.Context(), state.Group{Name: "put under", Apply: func(tx *state.Tx) error {
			tx.PutUnder(key, []byte("1"), lease)
			return nil
		}})
	}
	lease, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	if err := under(lease.ID); err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(t.Context(), key)
	if err != nil || len(resp.Kvs) != 1 || clientv3.LeaseID(resp.Kvs[0].Lease) != lease.ID {
		t.Fatalf("got %v (%v), want the key under lease %x", resp, err, lease.ID)
	}
	if _, err := client.Revoke(t.Context(), lease.ID); err != nil {
		t.Fatal(err)
	}
	if got := value(t, client, key); got != "" {
		t.Errorf("after the lease the key is still %q", got)
	}
	if err := under(lease.ID); err == nil {
		t.Error("a key was put under a lease that is gone")
	}
}
