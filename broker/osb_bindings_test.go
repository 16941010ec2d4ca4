package broker_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/broker"
	"github.com/pgpatron/pgpatron/state"
)

func TestBindingWaitsForTheDatabase(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	s.database.setDown(true)
	time.AfterFunc(300*time.Millisecond, func() { s.database.setDown(false) })
	body := map[string]any{"service_id": broker.ServiceID, "plan_id": singlePlan}
	s.want(s.call("PUT", bindingPath("i1", "b1"), body), http.StatusCreated)
	other := map[string]any{"service_id": broker.ServiceID, "plan_id": singlePlan, "app_guid": "app"}
	s.want(s.call("PUT", bindingPath("i1", "b1"), other), http.StatusConflict)
}

func TestBindingsSay(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	body := bindOrder(singlePlan, map[string]any{"bind_resource": map[string]any{"app_guid": "app"}, "context": map[string]any{"platform": "cloudfoundry"}})
	made := s.want(s.call("PUT", bindingPath("i1", "b1")+"?accepts_incomplete=true", body), http.StatusCreated).bound(t)
	c := made.Credentials
	want := binding{Credentials: c, Parameters: nil}
	want.Credentials.Host, want.Credentials.Hostname, want.Credentials.Hosts = "db.example", "db.example", []string{"db.example"}
	want.Credentials.Port, want.Credentials.Name, want.Credentials.Database = 30000, "app", "app"
	want.Credentials.URI = "postgresql://" + c.Username + ":" + c.Password + "@db.example:30000/app"
	want.Credentials.JDBCURL = "jdbc:postgresql://db.example:30000/app?password=" + c.Password + "&user=" + c.Username
	want.Endpoints = append(want.Endpoints, struct {
		Host, Protocol string
		Ports          []string
	}{"db.example", "tcp", []string{"30000"}})
	if diff := cmp.Diff(want, made); diff != "" {
		t.Error(diff)
	}
	for _, status := range []int{http.StatusOK} {
		if again := s.want(s.call("PUT", bindingPath("i1", "b1"), body), status).bound(t); !cmp.Equal(again, made) {
			t.Errorf("the repeated request is answered otherwise: %s", cmp.Diff(made, again))
		}
	}
	got := s.want(s.call("GET", bindingPath("i1", "b1"), nil), http.StatusOK).bound(t)
	want.Parameters = map[string]any{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if r := s.want(s.call("GET", bindingPath("i1", "b1")+"/last_operation", nil), http.StatusOK); r.field(t, "state") != "succeeded" {
		t.Errorf("last operation is %s", r.body)
	}
}

// A binding's id is taken by its first request.
func TestBindingConflicts(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.provision("i1", singlePlan)
	s.want(s.call("PUT", bindingPath("i1", "b1"), bindOrder(singlePlan, map[string]any{"app_guid": "app"})), http.StatusCreated)
	for name, body := range map[string]map[string]any{
		"other app":     bindOrder(singlePlan, map[string]any{"app_guid": "other"}),
		"no app":        bindOrder(singlePlan, nil),
		"parameters":    bindOrder(singlePlan, map[string]any{"app_guid": "app", "parameters": map[string]any{"read_only": true}}),
		"other plan":    bindOrder(clusterPlan, map[string]any{"app_guid": "app"}),
		"a predecessor": bindOrder(singlePlan, map[string]any{"app_guid": "app", "predecessor_binding_id": "b1"}),
	} {
		if r := s.call("PUT", bindingPath("i1", "b1"), body); r.status != http.StatusConflict {
			t.Errorf("%s: got %d %s, want 409", name, r.status, r.body)
		}
	}
	r := s.want(s.call("PUT", bindingPath("i1", "b2"), bindOrder(clusterPlan, nil)), http.StatusBadRequest)
	if !strings.Contains(r.body, "of another service or plan") {
		t.Errorf("got %s", r.body)
	}
	s.want(s.call("DELETE", bindingPath("i1", "b1")+ids(clusterPlan), nil), http.StatusBadRequest)
	s.want(s.call("DELETE", bindingPath("i1", "b1")+ids(singlePlan), nil), http.StatusOK)
	s.want(s.call("DELETE", bindingPath("i1", "b1")+ids(singlePlan), nil), http.StatusGone)
	s.want(s.call("GET", bindingPath("i1", "b1"), nil), http.StatusNotFound)
}

// A platform speaks of the plan that an instance has now, also of bindings that
// were made when it had another.
func TestBindingsOutlastAChangeOfPlan(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.provision("i1", singlePlan)
	s.want(s.call("PUT", bindingPath("i1", "b1"), bindOrder(singlePlan, nil)), http.StatusCreated)
	edit(s, state.InstanceKey("i1"), func(in *state.Instance) { in.PlanID = clusterPlan })
	s.want(s.call("PUT", bindingPath("i1", "b1"), bindOrder(clusterPlan, nil)), http.StatusOK)
	s.want(s.call("DELETE", bindingPath("i1", "b1")+ids(clusterPlan), nil), http.StatusOK)
}

func TestReadOnlyBinding(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	made := s.want(s.call("PUT", bindingPath("i1", "b1"), bindOrder(singlePlan, map[string]any{"parameters": map[string]any{"read_only": true}})), http.StatusCreated).bound(t)
	login, ok := s.database.login("i1", made.Credentials.Username)
	if !ok || !login.ReadOnly {
		t.Errorf("the login is %+v, %t: want one that can only read", login, ok)
	}
	if made.Credentials.Port != 30000 || made.Credentials.ReadURI != "" {
		t.Errorf("without a port for replicas, a login that reads is led to %+v", made.Credentials)
	}
}

func TestBindParametersAreChecked(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	for name, test := range map[string]struct {
		parameters map[string]any
		says       string
	}{
		"read_only a string":   {map[string]any{"read_only": "yes"}, "parameter read_only: must be true or false"},
		"read_only null":       {map[string]any{"read_only": nil}, "parameter read_only: must be true or false"},
		"lifetime a number":    {map[string]any{"lifetime": 24}, "parameter lifetime: must be a whole number followed by m, h or d"},
		"lifetime without end": {map[string]any{"lifetime": "24"}, "parameter lifetime: must be"},
		"lifetime negative":    {map[string]any{"lifetime": "-1h"}, "parameter lifetime: must be"},
		"lifetime zero":        {map[string]any{"lifetime": "0h"}, "parameter lifetime: must be"},
		"lifetime too long":    {map[string]any{"lifetime": "3651d"}, "parameter lifetime: must be from 1m to 3650d, got 3651d"},
		"lifetime for ever":    {map[string]any{"lifetime": "99999999d"}, "parameter lifetime: must be from 1m to 3650d"},
		"unknown":              {map[string]any{"superuser": true}, `unknown parameter \"superuser\"`},
	} {
		r := s.call("PUT", bindingPath("i1", "b1"), bindOrder(singlePlan, map[string]any{"parameters": test.parameters}))
		if r.status != http.StatusBadRequest || !strings.Contains(r.body, test.says) {
			t.Errorf("%s: got %d %s, want %q", name, r.status, r.body, test.says)
		}
	}
}
