package broker_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/broker"
	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

func TestMain(m *testing.M) { fixtures.RunWaiting(m, nil) }

func TestLifeCycle(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.provision("i1", clusterPlan)
	r := s.want(s.call("PUT", bindingPath("i1", "b1"), map[string]any{"service_id": broker.ServiceID, "plan_id": clusterPlan}), http.StatusCreated)
	var bound struct {
		Credentials struct{ URI, Username, Password, Host, Name string }
	}
	if err := json.Unmarshal([]byte(r.body), &bound); err != nil {
		t.Fatal(err)
	}
	c := bound.Credentials
	if got, ok := s.database.login("i1", c.Username); !ok || got.Password.Reveal() != c.Password {
		t.Errorf("the database has no login of the binding's name and password")
	}
	u, err := url.Parse(c.URI)
	if err != nil {
		t.Fatal(err)
	}
	if password, _ := u.User.Password(); u.Host != "db.example:30000" || u.User.Username() != c.Username || password != c.Password || u.Path != "/"+c.Name {
		t.Errorf("uri %s does not say what the other fields say", u.Redacted())
	}
	if again := s.want(s.call("GET", bindingPath("i1", "b1"), nil), http.StatusOK); !strings.Contains(again.body, c.Password) {
		t.Error("GET of the binding does not return its credentials")
	}
	s.want(s.call("DELETE", bindingPath("i1", "b1")+ids(clusterPlan), nil), http.StatusOK)
	if _, ok := s.database.login("i1", c.Username); ok {
		t.Error("the login is still there after unbind")
	}
	s.deprovision("i1", clusterPlan)
	if keys := s.keys(); len(keys) != 1 || keys[0] != state.NextPortKey() {
		t.Errorf("left in etcd: %q, want nextport alone", keys)
	}
}
