package registry_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

func TestNodesTellWhatTheyHave(t *testing.T) {
	s := newSite(t)
	s.node("n1", "z1", "eu")
	seen := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	s.store(state.HostKey("n2"), state.Host{Backend: state.Backend{ID: "n2", Zone: "z2", DockerVersion: "20"}, LastSeen: seen})
	s.store(state.BackendKey("n3"), state.Backend{ID: "n3"})
	if got := s.list("nodes"); got != "n1 n2 n3" {
		t.Errorf("nodes are %q", got)
	}
	got := s.get("node", "self")
	if got["lastHeartbeat"] == nil {
		t.Errorf("node = %v, want a heartbeat", got)
	}
	delete(got, "lastHeartbeat")
	amount := func(used, total, percent float64) map[string]any {
		return map[string]any{"used": used, "total": total, "percent": percent}
	}
	want := map[string]any{
		"id": "n1", "url": "http://n1:8889", "availabilityZone": "z1", "region": "eu", "hostname": "host-n1",
		"usage": map[string]any{
			"cpu": amount(1000, 4000, 25), "memory": amount(2000<<20, 8000<<20, 25), "disk": amount(100<<20, 1000<<20, 10),
		},
		"status": "healthy", "cordoned": false,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n2 := s.get("node", "n2"); n2["status"] != "unreachable" || n2["lastHeartbeat"] != seen.Format(time.RFC3339) {
		t.Errorf("node = %v, want an unreachable one that was seen at %v", n2, seen)
	}
	if n3 := s.get("node", "n3"); n3["status"] != "degraded" {
		t.Errorf("node = %v, want a degraded one", n3)
	}
	s.refused(s.call("GET", "/registry-svc/node/n4", viewer, ""), 404, "there is no node 'n4'", "")
}

func TestNodeIsCordonedAndForgotten(t *testing.T) {
	s := newSite(t)
	s.node("n1", "z1", "eu")
	s.put("definition", hello)
	s.put("deployment", `{"id": "web", "definitionId": "hello"}`)
	s.put("node", `{"id": "n1", "cordoned": true}`)
	if s.get("node", "n1")["cordoned"] != true || s.get("deployment", "web")["details"] != "only 0 of 1 nodes available" {
		t.Errorf("node = %v, deployment = %v, want a cordoned node that counts for nothing", s.get("node", "n1"), s.get("deployment", "web"))
	}
	s.put("node", `{"id": "n1", "cordoned": false, "region": "eu"}`)
	if s.get("node", "n1")["cordoned"] != false || s.get("deployment", "web")["status"] != "Pending" {
		t.Errorf("node = %v, want one without a cordon", s.get("node", "n1"))
	}
	s.refused(s.call("PUT", "/registry-svc/node", admin, `{"id": "n1", "region": "us"}`), 400, "is what the node's registrar is configured with", "region")
	s.refused(s.call("PUT", "/registry-svc/node", admin, `{}`), 400, "must be set", "id")
	s.refused(s.call("PUT", "/registry-svc/node/n9", admin, `{}`), 404, "there is no node 'n9'", "")

	s.refused(s.call("DELETE", "/registry-svc/node/n1", admin, ""), 409, "node 'n1' is not unreachable", "")
	s.refused(s.call("DELETE", "/registry-svc/node/n9", admin, ""), 404, "there is no node 'n9'", "")
	s.store(state.HostKey("n2"), state.Host{Backend: state.Backend{ID: "n2"}})
	s.place(func(r *registry.DeploymentRecord) {
		r.Placements = []registry.Placement{{ID: "web-1", Node: "n2", Run: s.run(), Removed: true}}
	})
	if a := s.call("DELETE", "/registry-svc/node/n2", admin, ""); a.status != 200 {
		t.Fatalf("DELETE: %d %v", a.status, a.body)
	}
	var r registry.DeploymentRecord
	if s.record(state.HostKey("n2"), nil) || !s.record(state.DeploymentKey("web"), &r) || len(r.Placements) != 0 {
		t.Errorf("the node is still there, or a placement on it: %v", r.Placements)
	}
	s.store(state.ClusterKey("db"), state.Cluster{InstanceID: "db", Nodes: []state.Node{{NodeID: "m", BackendID: "n3"}}})
	s.refused(s.call("DELETE", "/registry-svc/node/n3", admin, ""), 409, "node 'n3' has a node of cluster 'db'", "")
}

func TestRegionsCordonsSizesAndPortsDecideWhatIsAvailable(t *testing.T) {
	s := newSite(t)
	s.node("n1", "z1", "eu")
	s.node("n2", "z2", "eu")
	s.node("n3", "z3", "us")
	s.put("definition", `{"id": "hello", "image": {"name": "a", "internalPorts": [80]}, "ports": [{"internal": 80, "host": 8080}]}`)
	available := func(fields, want string) {
		t.Helper()
		got := s.put("deployment", `{"id": "web", "definitionId": "hello", "replicas": 9`+fields+`}`)
		if got["details"] != "only "+want+" of 9 nodes available" {
			t.Errorf("%s: %v, want %s nodes", fields, got["details"], want)
		}
	}
	available(``, "3")
	available(`, "targetRegions": ["eu"]`, "2")
	available(`, "targetRegions": [{"cluster": "eu", "zone": "z2"}]`, "1")
	available(`, "targetRegions": ["us", "n1"]`, "2")
	available(`, "resources": {"memory": "7G"}`, "3")
	available(`, "resources": {"memory": "9000Mi"}`, "0")
	available(`, "resources": {"cpu": "4001m"}`, "0")
	s.put("deployment", `{"id": "other", "definitionId": "hello"}`)
	var r registry.DeploymentRecord
	s.record(state.DeploymentKey("other"), &r)
	r.Placements = []registry.Placement{{ID: "other-1", Node: "n1", Run: registry.Run{Ports: []registry.Port{{Internal: 1, Host: 8080}}}}}
	s.store(state.DeploymentKey("other"), r)
	available(``, "2")
}
