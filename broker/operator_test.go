package broker_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

// operatorOf returns a client of the site's operator API.
func operatorOf(t *testing.T, s *site) *admin.Client {
	t.Helper()
	c, err := admin.NewClient(s.url, state.Credentials{Username: s.config.AdminUsername, Password: s.config.AdminPassword})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func refused(t *testing.T, err error, status int, words string) {
	t.Helper()
	told, ok := errors.AsType[*admin.Error](err)
	if !ok || told.Status != status || !strings.Contains(told.Message, words) {
		t.Errorf("got %v, want %d with %q", err, status, words)
	}
}

// TestOperatorsLogin: the operator's API has a login of its own, and there is
// none without one.
func TestOperatorsLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, login := range []state.Credentials{{}, {Username: "cf", Password: "secret"}, {Username: "ops", Password: "wrong"}} {
		c, err := admin.NewClient(s.url, login)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Instances(t.Context(), admin.Filter{})
		refused(t, err, http.StatusUnauthorized, "wrong username or password")
	}
	if r := s.call("GET", "/v2/catalog", nil); r.status != http.StatusOK {
		t.Errorf("platform: %d", r.status)
	}
	s.want(s.call("GET", "/admin/instances", nil), http.StatusUnauthorized)
}

// TestOperatorsView: what an operator sees is what there is, and no secret.
func TestOperatorsView(t *testing.T) {
	t.Parallel()
	s := newSite(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	s.provision("a/b", clusterPlan)
	s.provision("one", singlePlan)
	s.want(s.call("PUT", bindingPath("one", "x"), order(singlePlan)), http.StatusCreated)
	ops := operatorOf(t, s)
	all, err := ops.Instances(t.Context(), admin.Filter{})
	if err != nil || len(all) != 2 {
		t.Fatalf("got %v, %v", all, err)
	}
	one, err := ops.Instance(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(one, all[1]); diff != "" {
		t.Error(diff)
	}
	if one.Plan != "single" || one.Bindings != 1 || one.Leader != one.Nodes[0].ID || one.Operation.State != "succeeded" || one.Port == 0 {
		t.Errorf("got %+v", one)
	}
	if slashed, err := ops.Instance(t.Context(), "a/b"); err != nil || len(slashed.Nodes) != 2 {
		t.Errorf("got %+v, %v", slashed, err)
	}
	_, err = ops.Instance(t.Context(), "none")
	refused(t, err, http.StatusNotFound, `instance "none" does not exist`)
	filtered, err := ops.Instances(t.Context(), admin.Filter{Plan: "single", Backend: one.Nodes[0].Backend, State: "succeeded"})
	if err != nil || len(filtered) != 1 {
		t.Errorf("got %v, %v", filtered, err)
	}
	operations, err := ops.Operations(t.Context(), admin.Filter{})
	if err != nil || len(operations) != 2 {
		t.Errorf("got %v, %v", operations, err)
	}
	s.headers = map[string]string{"Authorization": basicAuth(s.config.AdminUsername, s.config.AdminPassword)}
	shown := s.want(s.call("GET", "/admin/instances", nil), http.StatusOK)
	for _, secret := range secretsOf(s, "one") {
		if strings.Contains(shown.body, secret.Reveal()) {
			t.Errorf("a secret is shown: %s", shown.body)
		}
	}
}

func basicAuth(username string, password state.Secret) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password.Reveal()))
}

// secretsOf returns every password of an instance.
func secretsOf(s *site, id string) []state.Secret {
	s.t.Helper()
	resp, err := s.client.Get(s.t.Context(), state.ClusterKey(id))
	if err != nil || len(resp.Kvs) == 0 {
		s.t.Fatalf("no cluster: %v", err)
	}
	c, err := state.JSON[state.Cluster](resp.Kvs[0].Value)
	if err != nil {
		s.t.Fatal(err)
	}
	return []state.Secret{
		c.AdminCredentials.Password, c.SuperuserCredentials.Password, c.AppCredentials.Password,
		c.ReplicationCredentials.Password, c.RESTCredentials.Password,
	}
}

// TestCordon: a cordoned backend gets no new nodes until it is let go.
func TestCordon(t *testing.T) {
	t.Parallel()
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	ops := operatorOf(t, s)
	_, err := ops.Cordon(t.Context(), "10.9.9.9", true)
	refused(t, err, http.StatusNotFound, "10.9.9.9")
	b, err := ops.Cordon(t.Context(), "10.0.0.1", true)
	if err != nil || !b.Cordoned {
		t.Fatalf("got %+v, %v", b, err)
	}
	r := s.want(s.call("PUT", instancePath("two")+"?accepts_incomplete=true", order(clusterPlan)), http.StatusBadRequest)
	if !strings.Contains(r.body, "not enough backends") {
		t.Errorf("got %s", r.body)
	}
	s.provision("one", singlePlan)
	if in, err := ops.Instance(t.Context(), "one"); err != nil || in.Nodes[0].Backend != "10.0.0.2" {
		t.Errorf("got %+v, %v", in, err)
	}
	if b, err := ops.Cordon(t.Context(), "10.0.0.1", false); err != nil || b.Cordoned {
		t.Errorf("got %+v, %v", b, err)
	}
	s.provision("two", clusterPlan)
}
