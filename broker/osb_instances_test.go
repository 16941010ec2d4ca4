package broker_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/broker"
	"github.com/pgpatron/pgpatron/state"
)

func TestGetInstance(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	body := order(clusterPlan)
	body["parameters"] = map[string]any{"synchronous": false}
	s.await("i1", s.begin("PUT", async("i1"), body), "succeeded")
	for _, query := range []string{"", "?service_id=" + broker.ServiceID + "&plan_id=" + clusterPlan} {
		r := s.want(s.call("GET", instancePath("i1")+query, nil), http.StatusOK)
		var got map[string]any
		if err := json.Unmarshal([]byte(r.body), &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"service_id": broker.ServiceID, "plan_id": clusterPlan, "parameters": map[string]any{"synchronous": false},
			"maintenance_info": map[string]any{"version": "1", "description": "PostgreSQL 17 with Patroni, image 1"},
			"metadata":         map[string]any{"labels": map[string]any{"host": "db.example", "port": "30000", "nodes": "2"}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// An instance is on the version that it was made with, whatever new ones get.
func TestGetInstanceTellsItsOwnVersion(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	s.stop()
	s.config.Image = "image:2"
	s.start()
	r := s.want(s.call("GET", instancePath("i1"), nil), http.StatusOK)
	if !strings.Contains(r.body, `"version":"1"`) {
		t.Errorf("got %s", r.body)
	}
}

func TestFailedInstanceIsNotThere(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	edit(s, state.InstanceKey("i1"), func(in *state.Instance) { in.Operation.State = state.Failed })
	s.want(s.call("GET", instancePath("i1"), nil), http.StatusNotFound)
	r := s.want(s.call("PUT", bindingPath("i1", "b"), bindOrder(singlePlan, nil)), http.StatusBadRequest)
	if !strings.Contains(r.body, "not usable") {
		t.Errorf("got %s", r.body)
	}
	s.want(s.call("PUT", async("i1"), order(singlePlan)), http.StatusConflict)
}

// Of the passwords in the cluster's record none is in any answer.
func TestNoSuperuserSecretInAnyAnswer(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	var cluster state.Cluster
	edit(s, state.ClusterKey("i1"), func(c *state.Cluster) { cluster = *c })
	answers := s.call("PUT", bindingPath("i1", "b"), bindOrder(singlePlan, nil)).body
	for _, route := range []string{instancePath("i1"), bindingPath("i1", "b"), pollPath("i1", ""), bindingPath("i1", "b") + "/last_operation", "/v2/catalog"} {
		answers += s.want(s.call("GET", route, nil), http.StatusOK).body
	}
	for _, login := range []state.Credentials{
		cluster.SuperuserCredentials, cluster.AdminCredentials, cluster.AppCredentials, cluster.ReplicationCredentials, cluster.RESTCredentials,
	} {
		if login.Password == "" || strings.Contains(answers, login.Password.Reveal()) {
			t.Errorf("the password of %s is empty, or in an answer", login.Username)
		}
	}
}
