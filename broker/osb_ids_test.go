package broker_test

import (
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

// Ids that look alike are different instances with different keys.
func TestStrangeIDs(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	strange := []string{"a/b", "a%2Fb", `q"'; DROP TABLE x`, "ünï"}
	for _, id := range strange {
		s.provision(id, singlePlan)
	}
	ports := map[string]string{}
	for _, id := range strange {
		resp, err := s.client.Get(t.Context(), state.AllocationKey(id))
		if err != nil || len(resp.Kvs) != 1 {
			t.Fatalf("instance %q has no port (%v)", id, err)
		}
		port := string(resp.Kvs[0].Value)
		if other, taken := ports[port]; taken {
			t.Errorf("%q and %q share port %s", id, other, port)
		}
		ports[port] = id
	}
	for _, id := range strange {
		s.deprovision(id, singlePlan)
	}
}
