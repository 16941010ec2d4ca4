package broker_test

import (
	"net/http"
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

// lookAlikes are ids that a person, a file system or a normalisation takes for
// one another.
var lookAlikes = [][2]string{
	{"Mydb", "mydb"},
	{"caf\u00e9", "cafe\u0301"},
	{"a", "a."},
	{"a", "a "},
	{".", ".."},
	{"a/b", "a%2Fb"},
	{"a+b", "a b"},
	{"%", "%25"},
	{"x/bindings/y", "x%2fbindings%2fy"},
	{"\u0430bc", "abc"},
	{"a\u200bb", "ab"},
	{"ss", "\u00df"},
}

// However alike two ids look, they share no key, port, container, or login.
func TestLookAlikesAreApart(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.stop()
	s.config.Ports.Last = 30099
	s.start()
	s.awaitBackend()
	bind := bindOrder(singlePlan, nil)
	for _, pair := range lookAlikes {
		var made [2]struct {
			cluster state.Cluster
			login   binding
		}
		for i, id := range pair {
			if s.call("GET", instancePath(id), nil).status == http.StatusNotFound {
				s.provision(id, singlePlan)
			}
			edit(s, state.ClusterKey(id), func(c *state.Cluster) { made[i].cluster = *c })
			if made[i].cluster.InstanceID != id {
				t.Errorf("the record of %q is of %q", id, made[i].cluster.InstanceID)
			}
			// The other id as a binding's: of one instance, they are apart, too.
			for _, name := range pair {
				made[i].login = s.want(s.call("PUT", bindingPath(id, name), bind), http.StatusCreated).bound(t)
				s.want(s.call("PUT", bindingPath(id, name), bind), http.StatusOK)
			}
		}
		a, b := made[0], made[1]
		if a.cluster.AllocatedPort == b.cluster.AllocatedPort || a.cluster.Nodes[0].NodeID == b.cluster.Nodes[0].NodeID || a.cluster.SuperuserCredentials == b.cluster.SuperuserCredentials {
			t.Errorf("%q and %q share a port, a container or a password", pair[0], pair[1])
		}
		if a.login.Credentials.Username == b.login.Credentials.Username {
			t.Errorf("%q and %q share a login", pair[0], pair[1])
		}
		s.deprovision(pair[0], singlePlan)
		s.want(s.call("GET", instancePath(pair[1]), nil), http.StatusOK)
		s.want(s.call("GET", bindingPath(pair[1], pair[1]), nil), http.StatusOK)
		s.deprovision(pair[1], singlePlan)
	}
	if keys := s.keys(); len(keys) != 1 {
		t.Errorf("left in etcd: %q", keys)
	}
}
