package broker_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// checkReplaced checks that a cluster has other passwords than before, and none to
// spare.
func (s *site) checkReplaced(id string, before state.Cluster) {
	s.t.Helper()
	now := s.cluster(id)
	if _, left := now.SpareLogins(); left {
		s.t.Error("there are spare passwords left")
	}
	for _, login := range [][2]state.Credentials{
		{before.SuperuserCredentials, now.SuperuserCredentials}, {before.ReplicationCredentials, now.ReplicationCredentials},
		{before.AdminCredentials, now.AdminCredentials}, {before.RESTCredentials, now.RESTCredentials},
	} {
		if login[0].Username != login[1].Username || login[0].Password == login[1].Password || login[1].Password == "" {
			s.t.Errorf("login %s became %s, with another password: %t", login[0].Username, login[1].Username, login[0].Password != login[1].Password)
		}
	}
	if now.AppCredentials != before.AppCredentials || fmt.Sprint(now.Nodes) != fmt.Sprint(before.Nodes) {
		s.t.Errorf("got %+v, before %+v", now, before)
	}
}

// checkKept checks that a cluster has the passwords of before, and none to spare.
func (s *site) checkKept(id string, before state.Cluster) {
	s.t.Helper()
	now := s.cluster(id)
	if _, left := now.SpareLogins(); left || now.Logins() != before.Logins() {
		s.t.Error("the passwords are not those of before")
	}
}

func TestPasswordsAreReplaced(t *testing.T) {
	s := newSite(t, "b1", "b2")
	s.provision("i", clusterPlan)
	ops := operatorOf(t, s)
	for range 2 {
		before := s.cluster("i")
		op, err := ops.Rotate(t.Context(), "i")
		if err != nil || op.Type != string(state.Rotate) || len(op.Steps) != 4 {
			t.Fatalf("got %+v, %v", op, err)
		}
		if text := s.await("i", op.ID, "succeeded").field(t, "description"); !strings.Contains(text, "new passwords") {
			t.Errorf("description %q does not say what was done", text)
		}
		s.checkReplaced("i", before)
	}
	s.want(s.call("PUT", bindingPath("i", "b"), order(clusterPlan)), http.StatusCreated)
	s.done("i", s.set("i", "settings", map[string]any{"work_mem": "8MB"}))
}

// A replacement that waits is the same for who asks again, and nothing else is begun
// meanwhile. Given up before the new passwords are used, it leaves the old ones.
func TestPasswordsThatWaitAreGivenUp(t *testing.T) {
	s := newSite(t, "b1", "b2")
	s.provision("i", clusterPlan)
	before := s.cluster("i")
	ops := operatorOf(t, s)
	s.nodes.Hold()
	first, err := ops.Rotate(t.Context(), "i")
	if err != nil {
		t.Fatal(err)
	}
	s.poll("new passwords are offered", func() bool { return s.cluster("i").LoginEdition == 1 })
	s.poll("it is told what is waited for", func() bool {
		return strings.Contains(s.instance("i").Operation.Description, "does not know them yet")
	})
	if again, err := ops.Rotate(t.Context(), "i"); err != nil || again.ID != first.ID {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	s.want(s.set("i", "switchover", true), http.StatusUnprocessableEntity)
	s.want(s.call("PUT", bindingPath("i", "meanwhile"), order(clusterPlan)), http.StatusCreated)
	_, err = ops.Recreate(t.Context(), "i")
	refused(t, err, http.StatusConflict, "is busy")
	if _, err := ops.Abandon(t.Context(), "i"); err != nil {
		t.Fatal(err)
	}
	s.nodes.Release()
	s.await("i", first.ID, "failed")
	s.checkKept("i", before)
	if op := s.instance("i").Operation; op.InstanceUsable == nil || !*op.InstanceUsable {
		t.Errorf("got %+v, want a usable instance", op)
	}
	s.want(s.call("PUT", bindingPath("i", "b"), order(clusterPlan)), http.StatusCreated)
	op, err := ops.Resume(t.Context(), "i")
	if err != nil {
		t.Fatal(err)
	}
	s.await("i", op.ID, "succeeded")
	s.checkReplaced("i", before)
}

// A node that runs and can not be told anything has the replacement fail; one that
// is down holds nothing up.
func TestPasswordsWhileANodeIsNotReached(t *testing.T) {
	s := newSite(t, "b1", "b2")
	s.provision("i", clusterPlan)
	before := s.cluster("i")
	ops := operatorOf(t, s)
	node := s.otherNode("i")
	s.nodes.Die(node.BackendID, true)
	s.database.set(func() { s.database.alone = true })
	op, err := ops.Rotate(t.Context(), "i")
	if err != nil {
		t.Fatal(err)
	}
	s.poll("it is told why nothing happens", func() bool {
		return strings.Contains(s.instance("i").Operation.Description, "its registrar is silent")
	})
	if _, err := s.client.Delete(t.Context(), state.MemberKey("i", node.NodeID)); err != nil {
		t.Fatal(err)
	}
	s.await("i", op.ID, "succeeded")
	s.checkReplaced("i", before)
}

// A login that is being made while passwords are replaced is made with the new one.
func TestLoginIsMadeWithThePasswordOfTheMoment(t *testing.T) {
	s := newSite(t, "b1")
	s.provision("i", singlePlan)
	s.stop()
	s.config.BindTimeout = 300 * time.Millisecond
	s.start()
	s.database.set(func() { s.database.admin = "of the moment" })
	if r := s.call("PUT", bindingPath("i", "b"), order(singlePlan)); r.status < 400 {
		t.Fatalf("got %d: the login was made with a password that is not taken", r.status)
	}
	role := read[state.Binding](s, state.BindingKey("i", "b")).Role
	edit(s, state.ClusterKey("i"), func(c *state.Cluster) { c.AdminCredentials.Password = "of the moment" })
	s.poll("the login is made", func() bool {
		_, there := s.database.login("i", role)
		return there
	})
}

// otherNode returns a node that does not lead.
func (s *site) otherNode(id string) state.Node {
	s.t.Helper()
	leader := s.leader(id)
	for _, n := range s.cluster(id).Nodes {
		if n.NodeID != leader {
			return n
		}
	}
	s.t.Fatal("there is no replica")
	return state.Node{}
}

// Once the new passwords are used there is no way back: what is left as it is, is
// ended by the next replacement.
func TestPasswordsLeftHalfReplaced(t *testing.T) {
	s := newSite(t, "b1", "b2")
	s.provision("i", clusterPlan)
	before := s.cluster("i")
	ops := operatorOf(t, s)
	s.nodes.Hold()
	op, err := ops.Rotate(t.Context(), "i")
	if err != nil {
		t.Fatal(err)
	}
	s.poll("new passwords are offered", func() bool { return s.cluster("i").LoginEdition == 1 })
	for _, n := range before.Nodes {
		s.put(state.MemberKey("i", n.NodeID), `{"state":"running","tags":{"pgpatron_passwords":"1","pgpatron_passwords_set":"0"}}`)
	}
	s.poll("they are to be used", func() bool { return s.cluster("i").LoginEdition == 2 })
	ended, err := ops.Abandon(t.Context(), "i")
	if err != nil || ended.State != string(state.Failed) || ended.ID != op.ID {
		t.Fatalf("got %+v, %v", ended, err)
	}
	half := s.cluster("i")
	if spare, left := half.SpareLogins(); !left || spare != before.Logins() {
		t.Error("the passwords of before are not spare ones")
	}
	s.nodes.Release()
	s.done("i", s.set("i", "settings", map[string]any{"work_mem": "8MB"}))
	again, err := ops.Rotate(t.Context(), "i")
	if err != nil || len(again.Steps) != 6 {
		t.Fatalf("got %+v, %v", again, err)
	}
	s.await("i", again.ID, "succeeded")
	s.checkReplaced("i", before)
	s.checkReplaced("i", half)
}

func TestPasswordsAreNotReplaced(t *testing.T) {
	s := newSite(t, "b1", "b2")
	s.provision("i", clusterPlan)
	ops := operatorOf(t, s)
	_, err := ops.Rotate(t.Context(), "none")
	refused(t, err, http.StatusNotFound, `instance "none" does not exist`)
	before := s.cluster("i")
	s.nodes.Age(true)
	s.poll("the nodes are of an older image", func() bool {
		m := read[patroni.Member](s, state.MemberKey("i", before.Nodes[0].NodeID))
		_, can := m.PasswordEdition()
		return !can
	})
	s.poll("the broker has seen that", func() bool {
		_, err := ops.Rotate(t.Context(), "i")
		if err == nil {
			s.poll("it is over", func() bool { return !s.instance("i").Operation.Running() })
			before = s.cluster("i")
			return false
		}
		refused(t, err, http.StatusConflict, "upgrade the instance first")
		return true
	})
	s.checkKept("i", before)
	s.nodes.Age(false)
	s.nodes.Hold()
	s.want(s.set("i", "settings", map[string]any{"max_connections": 50}), http.StatusAccepted)
	_, err = ops.Rotate(t.Context(), "i")
	refused(t, err, http.StatusConflict, "is busy")
	s.want(s.call("DELETE", instancePath("i")+ids(clusterPlan), nil), http.StatusAccepted)
	_, err = ops.Rotate(t.Context(), "i")
	refused(t, err, http.StatusConflict, "is busy")
}

// The broker dies after every single change of the journal, and the next one goes on
// from there: each password is replaced once.
func TestReplacementGoesOnAfterEveryDeath(t *testing.T) {
	s := newSite(t, "b1", "b2")
	s.provision("i", clusterPlan)
	before := s.cluster("i")
	if _, err := operatorOf(t, s).Rotate(t.Context(), "i"); err != nil {
		t.Fatal(err)
	}
	l := &lives{key: state.InstanceKey("i")}
	s.through = fixtures.EtcdTxns(t, s.client.Endpoints()[0], l.carry)
	deaths := 0
	for s.instance("i").Operation.Running() {
		written := s.written(l.key)
		s.stop()
		l.renew()
		s.start()
		deaths++
		s.poll("the journal goes on", func() bool {
			return l.over() && s.written(l.key) > written || !s.instance("i").Operation.Running()
		})
	}
	if op := s.instance("i").Operation; op.State != state.Succeeded {
		t.Errorf("got %+v", op)
	}
	s.checkReplaced("i", before)
	if now := s.cluster("i"); now.LoginEdition != 3 {
		t.Errorf("the passwords have changed %d times, want 3", now.LoginEdition)
	}
	t.Logf("the broker died %d times", deaths)
}
