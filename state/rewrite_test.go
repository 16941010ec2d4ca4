package state_test

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// A key that another's session holds is changed and stays under it.
func TestRewriteLeavesTheLease(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	lease, err := client.Grant(t.Context(), 600)
	if err != nil {
		t.Fatal(err)
	}
	key := state.RouterKey("10.0.0.5", 4711)
	if _, err := client.Put(t.Context(), key, "", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	schema := state.NewSchema()
	routers := state.Register(schema, state.RouterPattern, state.Text)
	e := run(t, state.EngineConfig{Client: client, Schema: schema, SessionTTL: time.Minute})
	rewrite := func(key, value string) error {
		return e.Do(soon(t), state.Group{Name: "rewrite", Apply: func(tx *state.Tx) error {
			tx.Rewrite(key, []byte(value))
			return nil
		}})
	}
	if err := rewrite(key, "DISABLED"); err != nil {
		t.Fatal(err)
	}
	e.View(func() {
		if got, _ := routers.Get("10.0.0.5@-@4711"); got.Value != "DISABLED" || got.Lease != lease.ID {
			t.Errorf("got %q under lease %x, want DISABLED under %x", got.Value, got.Lease, lease.ID)
		}
	})
	if err := rewrite(state.RouterKey("10.0.0.9", 1), "DISABLED"); err == nil {
		t.Error("a key that does not exist was made")
	}
	if _, err := client.Revoke(t.Context(), lease.ID); err != nil {
		t.Fatal(err)
	}
	await(t, e, "the key goes with its lease", func() bool { return routers.Len() == 0 })
}

// What a transaction itself has put is rewritten under the lease it was put with.
func TestRewriteOfWhatIsPut(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	routers := state.Register(schema, state.RouterPattern, state.Text)
	e := run(t, state.EngineConfig{Client: client, Schema: schema, SessionTTL: time.Minute})
	key := state.RouterKey("10.0.0.5", 4711)
	var lease clientv3.LeaseID
	eventually(t, "the key is put", func() bool {
		return e.Do(soon(t), state.Group{Name: "put and rewrite", Apply: func(tx *state.Tx) error {
			lease = tx.Lease()
			tx.PutLeased(key, nil)
			tx.Rewrite(key, []byte("DISABLED"))
			return nil
		}}) == nil
	})
	e.View(func() {
		if got, _ := routers.Get("10.0.0.5@-@4711"); got.Value != "DISABLED" || got.Lease != lease {
			t.Errorf("got %q under lease %x, want DISABLED under %x", got.Value, got.Lease, lease)
		}
	})
}

// Whoever follows the picture sees each news, and none twice.
func TestViewNews(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	routers := state.Register(schema, state.RouterPattern, state.Text)
	e := run(t, state.EngineConfig{Client: client, Schema: schema, SessionTTL: time.Minute})
	seen := int64(-1)
	for n := range 5 {
		if n > 0 {
			if _, err := client.Put(t.Context(), state.RouterKey("10.0.0.5", n), ""); err != nil {
				t.Fatal(err)
			}
		}
		for found := -1; found < n; {
			revision, err := e.ViewNews(soon(t), seen, func() { found = routers.Len() })
			if err != nil {
				t.Fatal(err)
			}
			if revision <= seen {
				t.Fatalf("revision %d comes after %d", revision, seen)
			}
			seen = revision
		}
	}
}
