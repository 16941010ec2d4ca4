package registrar

import (
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// Who leaves does not speak over who came after.
func TestLeavingABackendThatAnotherHas(t *testing.T) {
	etcd := fixtures.Etcd(t)
	c := newClaim(state.Backend{ID: "b", PID: 7}, time.Second, func() {})
	c.ours = true
	noted := func() bool {
		resp, err := etcd.Get(t.Context(), state.HostKey("b"))
		if err != nil {
			t.Fatal(err)
		}
		return len(resp.Kvs) == 1
	}
	if _, err := etcd.Put(t.Context(), state.BackendKey("b"), `{"pid":8}`); err != nil {
		t.Fatal(err)
	}
	if err := c.leave(t.Context(), etcd, condition{}); err != nil || noted() {
		t.Errorf("noted %v over who came after: %v", noted(), err)
	}
	if _, err := etcd.Delete(t.Context(), state.BackendKey("b")); err != nil {
		t.Fatal(err)
	}
	if err := c.leave(t.Context(), etcd, condition{}); err != nil || !noted() {
		t.Errorf("noted %v with nobody after: %v", noted(), err)
	}
}
