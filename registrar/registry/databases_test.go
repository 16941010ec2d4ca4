package registry_test

import (
	"fmt"
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

// database writes what broker, registrars and Patroni write of a cluster of two.
func (s *site) database() {
	s.Helper()
	s.node("n1", "z1", "eu")
	s.node("n2", "z2", "eu")
	s.store(state.ClusterKey("db"), state.Cluster{
		InstanceID: "db", PlanID: "plan", NodeSpec: state.NodeSpec{Image: "postgresql:1", MemoryMB: 512, MilliCPU: 1500},
		AdminCredentials: state.Credentials{Username: "admin", Password: "a-secret"},
		Nodes:            []state.Node{{NodeID: "m1", BackendID: "n1"}, {NodeID: "m2", BackendID: "n2"}},
	})
	for i, node := range []string{"m1", "m2"} {
		backend := fmt.Sprintf("n%d", i+1)
		s.store(state.NodeStatusKey(node), state.NodeStatus{ID: node, InstanceID: "db", BackendID: backend, Phase: state.PhaseRunning})
		s.store(state.AnnouncementKey("postgresql-brokerpatroni", "host-"+backend, "cf-"+node, 5432), fmt.Sprintf("10.0.0.%d:20001", i+1))
	}
	s.store(state.LeaderKey("db"), "m1")
	s.store(state.MemberKey("db", "m1"), `{"role": "primary", "state": "running"}`)
	s.store(state.MemberKey("db", "m2"), `{"role": "replica", "state": "running", "replication_state": "streaming"}`)
}

func TestDatabasesAreInTheRegistry(t *testing.T) {
	s := newSite(t)
	s.database()
	def := s.get("definition", "plan")
	if image := def["image"].(map[string]any); image["name"] != "postgresql:1" || def["scheme"] != "postgresql" {
		t.Errorf("definition = %v, want the plan's container", def)
	}
	dep := s.get("deployment", "db")
	if dep["status"] != "OK" || dep["replicas"] != 2.0 || dep["definitionId"] != "plan" || dep["details"] != "2 of 2 instances are healthy" {
		t.Errorf("deployment = %v, want the cluster", dep)
	}
	if got := s.list("instances?slug=db"); got != "m1 m2" {
		t.Errorf("instances are %q, want the cluster's nodes", got)
	}
	check := func(id, field string, want any) {
		t.Helper()
		if got := s.get("instance", id)[field]; got != want {
			t.Errorf("instance %s has %s %v, want %v", id, field, got, want)
		}
	}
	check("m1", "url", "postgresql://10.0.0.1:20001")
	check("m1", "role", "leader")
	check("m1", "status", "Healthy")
	check("m1", "nodeUrl", "http://n1:8889")
	check("m2", "role", "replica")
	check("m2", "status", "Healthy")

	// What changes there changes here.
	s.store(state.LeaderKey("db"), "m2")
	check("m1", "role", "replica")
	check("m1", "details", "says that it is primary, without being leader")
	check("m2", "role", "leader")
	s.store(state.MemberKey("db", "m1"), `{"role": "replica", "state": "starting"}`)
	check("m1", "status", "Degraded")
	check("m1", "details", "PostgreSQL is starting")
	s.store(state.NodeStatusKey("m1"), state.NodeStatus{ID: "m1", InstanceID: "db", BackendID: "n1", Phase: state.PhaseFailed, Details: "no image"})
	check("m1", "status", "Error")
	if dep := s.get("deployment", "db"); dep["status"] != "Error" || dep["details"] != "instance m1: no image" {
		t.Errorf("deployment = %v, want an error", dep)
	}
}

func TestDatabasesAreChangedOnlyByTheBroker(t *testing.T) {
	s := newSite(t)
	s.database()
	for _, tc := range []struct{ method, path, body, text string }{
		{"PUT", "/registry-svc/deployment", `{"id": "db", "definitionId": "plan", "replicas": 9}`, "deployment 'db' is a cluster: it is changed only by the broker"},
		{"DELETE", "/deploy-svc/deployment/db", "", "deployment 'db' is a cluster: it is changed only by the broker"},
		{"DELETE", "/registry-svc/definition/plan", "", "definition 'plan' is used by deployment 'db'"},
		{"PUT", "/registry-svc/deployment", `{"id": "mine", "definitionId": "plan"}`, "only the broker deploys it"},
		{"DELETE", "/registry-svc/instance/m1", "", "instance 'm1' is the node of a cluster: it is changed only by the broker"},
		{"PUT", "/registry-svc/instance", `{"id": "m1", "url": "http://h:1"}`, "it is changed only by the broker"},
	} {
		s.refused(s.call(tc.method, tc.path, admin, tc.body), 409, tc.text, "")
	}
	s.refused(s.call("PUT", "/registry-svc/instance", admin, `{"id": "x", "url": "postgresql://10.0.0.1:20001"}`), 409,
		"url 'postgresql://10.0.0.1:20001' belongs to instance 'm1'", "url")
	for _, prefix := range []string{"definitions", "deployments"} {
		if got := s.list(prefix); got != map[string]string{"definitions": "plan", "deployments": "db"}[prefix] {
			t.Errorf("%s are %q", prefix, got)
		}
	}
}

// A plan's container is changed by putting its definition: its image, and by an
// admin.
func TestPlansContainerIsPut(t *testing.T) {
	s := newSite(t)
	s.database()
	s.refused(s.call("PUT", "/registry-svc/definition", editor, `{"id": "plan", "image": {"name": "mine:2"}}`), 403,
		"definition 'plan' is the container of a plan: changing it needs the role admin", "")
	s.refused(s.call("PUT", "/registry-svc/definition", admin, `{"id": "plan", "repository": {"url": "https://h/x.git"}}`), 400,
		"definition 'plan' is the container of a plan: it must have an image", "repository")
	s.put("definition", `{"id": "plan", "image": {"name": "mine:2"}}`)
	def := s.get("definition", "plan")
	if image := def["image"].(map[string]any); image["name"] != "mine:2" || len(image["internalPorts"].([]any)) != 2 || def["scheme"] != "postgresql" {
		t.Errorf("definition = %v, want the plan's with another image", def)
	}
	if got := s.list("definitions"); got != "plan" {
		t.Errorf("definitions are %q", got)
	}
	var container state.PlanContainer
	if s.record(state.DefinitionKey("plan"), &container); container.ImageOr("") != "mine:2" {
		t.Errorf("brokers read %+v", container)
	}
	s.refused(s.call("DELETE", "/registry-svc/definition/plan", admin, ""), 409, "definition 'plan' is used by deployment 'db'", "")
	s.refused(s.call("PUT", "/registry-svc/deployment", admin, `{"id": "mine", "definitionId": "plan"}`), 409, "only the broker deploys it", "")

	// What a plan may be made from is not decided by who may only edit.
	s.call("PUT", "/registry-svc/definition", editor, `{"id": "other-plan", "image": {"name": "theirs:1"}}`)
	var other state.PlanContainer
	if s.record(state.DefinitionKey("other-plan"), &other); other.ImageOr("ours") != "ours" {
		t.Errorf("brokers read %+v", other)
	}
	s.put("definition", `{"id": "coming-plan", "image": {"name": "ours:1"}}`)
	for _, method := range []string{"PUT", "DELETE"} {
		path, body := "/registry-svc/definition/coming-plan", `{"image": {"name": "theirs:1"}}`
		s.refused(s.call(method, path, editor, body), 403, "definition 'coming-plan' was put by an admin: changing it needs the role admin", "")
	}
}
