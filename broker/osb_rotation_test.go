package broker_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// successor is a request to bind in the place of another binding.
func successor(of string) map[string]any {
	return bindOrder(singlePlan, map[string]any{"predecessor_binding_id": of})
}

func TestRotation(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	body := bindOrder(singlePlan, map[string]any{"app_guid": "app", "parameters": map[string]any{"lifetime": "1d", "read_only": true}})
	old := s.want(s.call("PUT", bindingPath("i1", "old"), body), http.StatusCreated).bound(t)
	edit(s, state.BindingKey("i1", "old"), func(b *state.Binding) { b.Expires = b.Expires.Add(-time.Hour) })
	fresh := s.want(s.call("PUT", bindingPath("i1", "new"), successor("old")), http.StatusCreated).bound(t)
	if fresh.Credentials.Username == old.Credentials.Username || fresh.Credentials.Password == old.Credentials.Password {
		t.Error("the successor has its predecessor's login")
	}
	login, ok := s.database.login("i1", fresh.Credentials.Username)
	if !ok || !login.ReadOnly || fresh.Metadata == nil || fresh.Metadata.ExpiresAt < old.Metadata.ExpiresAt {
		t.Errorf("the successor does not take over: %+v, %+v after %+v", login, fresh.Metadata, old.Metadata)
	}
	if got := s.want(s.call("GET", bindingPath("i1", "new"), nil), http.StatusOK).bound(t); got.Parameters["lifetime"] != "1d" {
		t.Errorf("the successor's parameters are %v", got.Parameters)
	}
	if _, there := s.database.login("i1", old.Credentials.Username); !there {
		t.Error("the predecessor's login is gone before it was unbound")
	}
	s.want(s.call("PUT", bindingPath("i1", "new"), successor("old")), http.StatusOK)
	s.want(s.call("PUT", bindingPath("i1", "new"), body), http.StatusConflict)
	s.want(s.call("DELETE", bindingPath("i1", "old")+ids(singlePlan), nil), http.StatusOK)
	s.want(s.call("PUT", bindingPath("i1", "new"), successor("old")), http.StatusOK)
	if _, there := s.database.login("i1", fresh.Credentials.Username); !there {
		t.Error("the successor's login went with its predecessor")
	}
}

func TestRotationRefusals(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	s.provision("i2", singlePlan)
	s.want(s.call("PUT", bindingPath("i2", "elsewhere"), bindOrder(singlePlan, nil)), http.StatusCreated)
	s.want(s.call("PUT", bindingPath("i1", "old"), bindOrder(singlePlan, map[string]any{"app_guid": "app"})), http.StatusCreated)
	with := func(key string, value any) map[string]any {
		body := successor("old")
		body[key] = value
		return body
	}
	for name, test := range map[string]struct {
		body   map[string]any
		status int
	}{
		"no such binding":     {successor("nothing"), http.StatusNotFound},
		"of another instance": {successor("elsewhere"), http.StatusNotFound},
		"of itself":           {successor("new"), http.StatusNotFound},
		"for another app":     {with("app_guid", "other"), http.StatusBadRequest},
		"with parameters":     {with("parameters", map[string]any{"read_only": true}), http.StatusBadRequest},
		"of another plan":     {with("plan_id", clusterPlan), http.StatusBadRequest},
		"control characters":  {successor("a\x00b"), http.StatusBadRequest},
		"same app, and so on": {with("app_guid", "app"), http.StatusCreated},
	} {
		r := s.call("PUT", bindingPath("i1", "new"), test.body)
		if r.status != test.status {
			t.Errorf("%s: got %d %s, want %d", name, r.status, r.body, test.status)
		}
		if r.status == http.StatusCreated {
			s.want(s.call("DELETE", bindingPath("i1", "new")+ids(singlePlan), nil), http.StatusOK)
		}
	}
	s.database.setDown(true)
	edit(s, state.BindingKey("i1", "old"), func(b *state.Binding) { b.State = state.BindingDeleting })
	r := s.want(s.call("PUT", bindingPath("i1", "new"), successor("old")), http.StatusUnprocessableEntity)
	if r.field(t, "error") != "ConcurrencyError" {
		t.Errorf("while the predecessor is being deleted: %s", r.body)
	}
	s.database.setDown(false)
}
