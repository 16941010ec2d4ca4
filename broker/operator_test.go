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
	c := s.cluster(id)
	return []state.Secret{
		c.AdminCredentials.Password, c.SuperuserCredentials.Password, c.AppCredentials.Password,
		c.ReplicationCredentials.Password, c.RESTCredentials.Password,
	}
}

// TestCordon: a cordoned backend gets no new nodes until it is let go.
func TestCordon(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	ops := operatorOf(t, s)
	_, err := ops.Cordon(t.Context(), "10.9.9.9", true, admin.Act{})
	refused(t, err, http.StatusNotFound, "10.9.9.9")
	b, err := ops.Cordon(t.Context(), "10.0.0.1", true, admin.Act{})
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
	if b, err := ops.Cordon(t.Context(), "10.0.0.1", false, admin.Act{}); err != nil || b.Cordoned {
		t.Errorf("got %+v, %v", b, err)
	}
	s.provision("two", clusterPlan)
}

// awaitDrain waits until the drain of a backend has ended.
func (s *site) awaitDrain(ops *admin.Client, backend string) admin.Backend {
	s.t.Helper()
	var b admin.Backend
	s.poll("the drain of "+backend+" ends", func() bool {
		var err error
		b, err = ops.Backend(s.t.Context(), backend)
		return err == nil && b.Drain != nil && b.Drain.State != "in progress"
	})
	return b
}

// TestDrain: a drained backend has no nodes, is left alone, and says so.
func TestDrain(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	for _, id := range []string{"a", "b"} {
		s.provision(id, clusterPlan)
	}
	s.provision("c", singlePlan)
	ops := operatorOf(t, s)
	backend := s.cluster("a").Nodes[0].BackendID
	if b, err := ops.Drain(t.Context(), backend, admin.Act{}); err != nil || !b.Cordoned || b.Drain == nil {
		t.Fatalf("got %+v, %v", b, err)
	}
	b := s.awaitDrain(ops, backend)
	if b.Drain.State != "succeeded" || b.Nodes != 0 || b.Drain.Left != 0 || len(b.Drain.Problems) > 0 {
		t.Errorf("got %+v, drain %+v", b, b.Drain)
	}
	for _, id := range []string{"a", "b", "c"} {
		if strings.Contains(s.backendsOf(id), backend) {
			t.Errorf("%s is still on %s: %s", id, backend, s.backendsOf(id))
		}
	}
	if b, err := ops.Cordon(t.Context(), backend, false, admin.Act{}); err != nil || b.Cordoned {
		t.Errorf("got %+v, %v", b, err)
	}
}

// TestDrainThatCanNotEnd tells, by instance, why nodes stay, and can be asked
// for again.
func TestDrainThatCanNotEnd(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.provision("pair", clusterPlan)
	ops := operatorOf(t, s)
	if _, err := ops.Drain(t.Context(), "10.0.0.1", admin.Act{}); err != nil {
		t.Fatal(err)
	}
	b := s.awaitDrain(ops, "10.0.0.1")
	if b.Drain.State != "failed" || b.Drain.Left != 1 || !strings.Contains(b.Drain.Problems["pair"], "backend") {
		t.Errorf("got %+v", b.Drain)
	}
	if b, err := ops.Drain(t.Context(), "10.0.0.1", admin.Act{}); err != nil || b.Drain.State != "in progress" || len(b.Drain.Problems) > 0 {
		t.Errorf("asked again: %+v, %v", b.Drain, err)
	}
	s.awaitDrain(ops, "10.0.0.1")
}

// TestDryRun: a plan is shown and nothing is done; without it the same steps
// are.
func TestDryRun(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	s.provision("a", clusterPlan)
	ops := operatorOf(t, s)
	change := admin.Change{Parameters: []byte(`{"node_count":3}`)}
	planned, err := ops.Change(t.Context(), "a", change, true)
	if err != nil || len(planned.Steps) == 0 || planned.State != "planned" {
		t.Fatalf("got %+v, %v", planned, err)
	}
	if in := s.instance("a"); in.Operation.Type != state.Provision {
		t.Errorf("a dry run began %+v", in.Operation)
	}
	begun, err := ops.Change(t.Context(), "a", change, false)
	if err != nil || len(begun.Steps) != len(planned.Steps) {
		t.Fatalf("got %+v, %v", begun, err)
	}
	s.await("a", begun.ID, "succeeded")
	if nodes := len(s.cluster("a").Nodes); nodes != 3 {
		t.Errorf("%d nodes", nodes)
	}
	_, err = ops.Change(t.Context(), "a", admin.Change{Parameters: []byte(`{"node_count":99}`)}, true)
	refused(t, err, http.StatusBadRequest, "node_count")
}

// TestRecreate: an instance whose hosts are gone gets new nodes, and keeps its
// port and its logins.
func TestRecreate(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.provision("a", singlePlan)
	s.want(s.call("PUT", bindingPath("a", "b"), order(singlePlan)), http.StatusCreated)
	before := s.cluster("a")
	role := read[state.Binding](s, state.BindingKey("a", "b")).Role
	s.database.forget("a")
	ops := operatorOf(t, s)
	op, err := ops.Recreate(t.Context(), "a")
	if err != nil || op.Type != "recreate" {
		t.Fatalf("got %+v, %v", op, err)
	}
	s.await("a", op.ID, "succeeded")
	s.poll("the login is made again", func() bool {
		_, there := s.database.login("a", role)
		return there
	})
	after := s.cluster("a")
	if after.AllocatedPort != before.AllocatedPort || after.Nodes[0].NodeID == before.Nodes[0].NodeID || len(after.Nodes) != 1 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if after.SuperuserCredentials != before.SuperuserCredentials {
		t.Error("the superuser's password has changed")
	}
}

// TestAbandonAndResume: an operation that hangs is ended, and tried again.
func TestAbandonAndResume(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	s.provision("a", clusterPlan)
	ops := operatorOf(t, s)
	_, err := ops.Abandon(t.Context(), "a")
	refused(t, err, http.StatusConflict, "no operation is under way")
	_, err = ops.Resume(t.Context(), "a")
	refused(t, err, http.StatusConflict, "has succeeded")
	s.nodes.Hold()
	update := s.set("a", "node_count", 3)
	s.want(update, http.StatusAccepted)
	op, err := ops.Abandon(t.Context(), "a")
	if err != nil || op.State != "in progress" || !strings.Contains(op.Description, "abandoned by an operator") {
		t.Fatalf("got %+v, %v", op, err)
	}
	s.nodes.Release()
	s.ended("a", update, "failed")
	if nodes := len(s.cluster("a").Nodes); nodes != 2 {
		t.Errorf("%d nodes after it was taken back", nodes)
	}
	op, err = ops.Resume(t.Context(), "a")
	if err != nil || op.State != "in progress" {
		t.Fatalf("got %+v, %v", op, err)
	}
	s.await("a", op.ID, "succeeded")
	if nodes := len(s.cluster("a").Nodes); nodes != 3 {
		t.Errorf("%d nodes", nodes)
	}
}

// TestAbandonTwice: an operation that can not even be taken back is ended.
func TestAbandonTwice(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2", "10.0.0.3")
	s.provision("a", clusterPlan)
	ops := operatorOf(t, s)
	s.nodes.Hold()
	s.want(s.set("a", "node_count", 3), http.StatusAccepted)
	var op admin.Operation
	for range 2 {
		var err error
		if op, err = ops.Abandon(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if op.State != "failed" {
		t.Errorf("got %+v", op)
	}
}

// TestAbandonDeprovision: a deletion that waits for a host that never comes back
// ends.
func TestAbandonDeprovision(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("a", singlePlan)
	s.nodes.Hold()
	r := s.want(s.call("DELETE", instancePath("a")+ids(singlePlan), nil), http.StatusAccepted)
	ops := operatorOf(t, s)
	_, err := ops.Abandon(t.Context(), "a")
	refused(t, err, http.StatusConflict, "registrars of all nodes answer")
	if _, err := s.client.Delete(t.Context(), state.BackendKey("10.0.0.1")); err != nil {
		t.Fatal(err)
	}
	s.poll("the backend is unreachable", func() bool {
		b, err := ops.Backend(t.Context(), "10.0.0.1")
		return err == nil && b.Status == state.BackendUnreachable
	})
	if _, err := ops.Abandon(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	operation := r.field(t, "operation")
	s.poll("the instance is gone", func() bool {
		return s.call("GET", instancePath("a")+"/last_operation?operation="+operation, nil).status == http.StatusGone
	})
}
