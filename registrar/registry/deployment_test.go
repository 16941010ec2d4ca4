package registry_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

const hello = `{"id": "hello", "image": {"name": "hello:1", "internalPorts": [8080]}, "envars": {"A": "1", "B": "2"}}`

func TestDeploymentHasDefaults(t *testing.T) {
	s := newSite(t)
	s.put("definition", hello)
	got := s.put("deployment", `{"id": "web", "definitionId": "hello"}`)
	want := map[string]any{
		"id": "web", "definitionId": "hello", "slug": "web", "replicas": 1.0, "strategy": map[string]any{"type": "RollingUpdate"},
		"status": "Error", "details": "only 0 of 1 nodes available",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got = s.put("deployment", `{"deployment": {"definitionId": "hello", "resources": {"cpu": 0.5, "memory": "128Mi"}, "targetRegions": ["eu", {"zone": "z1"}]}}`)
	if got["id"] == "" || !cmp.Equal(got["resources"], map[string]any{"cpu": "500m", "memory": "128Mi"}) ||
		!cmp.Equal(got["targetRegions"], []any{map[string]any{"cluster": "eu"}, map[string]any{"zone": "z1"}}) {
		t.Errorf("deployment = %v, want an id, 500m, 128Mi and two regions", got)
	}
}

func TestDeploymentIsRefusedByField(t *testing.T) {
	s := newSite(t)
	s.put("definition", hello)
	for _, tc := range []struct{ fields, text, field string }{
		{`"definitionId": "nothing"`, "there is no definition 'nothing'", "definitionId"},
		{`"definitionId": ""`, "must be set", "definitionId"},
		{`"replicas": -1`, "must be from 0 to 500, got -1", "replicas"},
		{`"replicas": 501`, "got 501", "replicas"},
		{`"replicas": "3"`, "must not be of type string", "replicas"},
		{`"strategy": {"type": "BlueGreen"}`, `got "BlueGreen"`, "strategy.type"},
		{`"strategy": {"type": "RollingUpdate", "maxUnavailable": 0, "maxSurge": 0}`, "nothing could be replaced", "strategy.maxUnavailable"},
		{`"strategy": {"type": "RollingUpdate", "maxSurge": -1}`, "must not be negative", "strategy.maxSurge"},
		{`"resources": {"memory": "lots"}`, "must be an amount such as 128Mi", "resources.memory"},
		{`"resources": {"memory": "1Mi"}`, "must be at least 6Mi", "resources.memory"},
		{`"resources": {"cpu": "-1"}`, "must be an amount such as 500m", "resources.cpu"},
		{`"targetRegions": [{}]`, "must name a cluster or a zone", "targetRegions[0]"},
		{`"envars": [{"key": "A", "value": "1"}, {"key": "A", "value": "2"}]`, "A is there twice", "envars[1].key"},
		{`"slug": "a/b"`, "must be letters", "slug"},
		{`"nodes": 3`, "no such field", "nodes"},
	} {
		body := `{"id": "web", "definitionId": "hello", ` + tc.fields + `}`
		s.refused(s.call("PUT", "/deploy-svc/deployment", editor, body), 400, tc.text, tc.field)
	}
	s.refused(s.call("GET", "/deploy-svc/deployment/web", viewer, ""), 404, "there is no deployment 'web'", "")
	s.refused(s.call("DELETE", "/deploy-svc/deployment/web", editor, ""), 404, "there is no deployment 'web'", "")
}

// place writes what the elected registrar and the hosts would.
func (s *site) place(change func(*registry.DeploymentRecord)) {
	s.Helper()
	var r registry.DeploymentRecord
	if !s.record(state.DeploymentKey("web"), &r) {
		s.Fatal("there is no deployment web")
	}
	change(&r)
	s.store(state.DeploymentKey("web"), r)
}

// run is what the deployment web runs, by its records.
func (s *site) run() registry.Run {
	s.Helper()
	var def registry.DefinitionRecord
	var dep registry.DeploymentRecord
	if !s.record(state.DefinitionKey("hello"), &def) || !s.record(state.DeploymentKey("web"), &dep) {
		s.Fatal("there is no definition hello or no deployment web")
	}
	return registry.NewRun(def.Definition, dep.Deployment)
}

func (s *site) instance(id, node string, status registry.InstanceStatus, details string) {
	s.Helper()
	s.store(state.RegisteredKey(id), registry.InstanceRecord{
		Instance: registry.Instance{ID: id, DeploymentID: "web", URL: "http://10.0.0.1:80/" + id, Status: status, Details: details}, Node: node,
	})
}

func TestDeploymentTellsHowFarItIs(t *testing.T) {
	s := newSite(t)
	s.put("definition", hello)
	s.node("n1", "z1", "eu")
	s.node("n2", "z2", "eu")
	put := func(replicas string) {
		s.put("deployment", `{"id": "web", "definitionId": "hello", "replicas": `+replicas+`}`)
	}
	status := func(want, details string) {
		t.Helper()
		got := s.get("deployment", "web")
		if got["status"] != want || got["details"] != details {
			t.Errorf("status is %v: %v, want %s: %s", got["status"], got["details"], want, details)
		}
	}
	put("3")
	status("Error", "only 2 of 3 nodes available")
	put("2")
	status("Pending", "waits to be placed")
	s.place(func(r *registry.DeploymentRecord) {
		r.Placements = []registry.Placement{{ID: "web-1", Node: "n1", Run: s.run()}, {ID: "web-2", Node: "n2", Run: s.run()}}
	})
	status("Deploying", "0 of 2 instances are healthy")
	s.instance("web-1", "n1", registry.InstanceHealthy, "")
	status("Deploying", "1 of 2 instances are healthy")
	s.instance("web-2", "n2", registry.InstanceError, "exit code 1: no config")
	status("Error", "instance web-2: exit code 1: no config")
	s.instance("web-2", "n2", registry.InstanceHealthy, "")
	status("OK", "2 of 2 instances are healthy")
	s.put("definition", `{"id": "hello", "image": {"name": "hello:2", "internalPorts": [8080]}}`)
	status("Deploying", "0 of 2 instances are up to date")
	s.store(state.BuildKey("hello", "n1"), registry.Build{
		DefinitionID: "hello", NodeID: "n1", Image: s.run().ImageRef(), Status: registry.BuildFailed, Details: "no such file", Log: "Step 1",
	})
	status("Failed", "build of definition 'hello' on node n1 failed: no such file")
	s.store(state.BuildKey("hello", "n1"), registry.Build{DefinitionID: "hello", NodeID: "n1", Image: "an older one", Status: registry.BuildFailed})
	s.place(func(r *registry.DeploymentRecord) {
		r.Placements[0].Removed, r.Placements[1].Run = true, s.run()
		r.Placements = append(r.Placements, registry.Placement{ID: "web-3", Node: "n1", Run: s.run()})
	})
	s.instance("web-3", "n1", registry.InstanceHealthy, "")
	status("Deploying", "1 to be removed on node n1")
	if got := s.list("instances?slug=web"); got != "web-1 web-2 web-3" {
		t.Errorf("instances are %q", got)
	}
	if a := s.call("DELETE", "/registry-svc/deployment/web", editor, ""); a.status != 202 {
		t.Fatalf("DELETE: %d %v", a.status, a.body)
	}
	status("Deploying", "is being deleted: 1 to be removed on node n2; 2 to be removed on node n1")
	s.refused(s.call("PUT", "/registry-svc/deployment", editor, `{"id": "web", "definitionId": "hello"}`), 409, "deployment 'web' is being deleted", "")
}

func TestEnvironmentOfTheDeploymentWins(t *testing.T) {
	s := newSite(t)
	s.put("definition", hello)
	s.put("deployment", `{"id": "web", "definitionId": "hello", "envars": [{"key": "B", "value": "3"}]}`)
	want := []string{"A=1", "B=3"}
	if diff := cmp.Diff(want, s.run().Envars.Strings()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
