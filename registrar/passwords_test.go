package registrar_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// wantPasswords waits until a container has been given a cluster's passwords.
func (s *site) wantPasswords(node string, c state.Cluster) {
	s.Helper()
	want, err := patroni.PasswordsOf(c).Encode()
	if err != nil {
		s.Fatal(err)
	}
	s.patiently("the node has its passwords", func() bool {
		has, _ := s.docker.get("cf-" + node)
		return has.Files[patroni.PasswordsFile] == string(want)
	})
}

func offered(c state.Cluster) state.Cluster {
	c.OfferLogins(func() state.Secret { return "new" })
	return c
}

// Other passwords come into a container that runs: it is told to look, and goes on.
func TestNodeIsGivenOtherPasswords(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1")
	s.record(db)
	s.run()
	s.awaitPhase("n1", state.PhaseRunning)
	if c, _ := s.docker.get("cf-n1"); c.Files[patroni.PasswordsFile] != "" {
		t.Error("a node was told of passwords that it has")
	}
	s.docker.forget()
	db = offered(db)
	s.record(db)
	s.wantPasswords("n1", db)
	s.await("it is told to look", func() bool { return slices.Contains(s.docker.history(), "reload cf-n1") })
	db.AdoptLogins()
	s.record(db)
	s.wantPasswords("n1", db)
	c, _ := s.docker.get("cf-n1")
	if got := c.Files["owner of passwords.json"]; got != "999:999 400" {
		t.Errorf("the file has owner and mode %q, want 999:999 400", got)
	}
	if got := strings.Join(s.docker.history(), ", "); strings.Contains(got, "die") || strings.Contains(got, "create") {
		t.Errorf("history = %q: the container was disturbed", got)
	}
}

// A container that starts has the passwords of the record as it is then.
func TestNodeStartsWithItsPasswords(t *testing.T) {
	s := newSite(t)
	db := offered(cluster("db1", "n1"))
	db.AdoptLogins()
	s.record(db)
	s.run()
	s.awaitPhase("n1", state.PhaseRunning)
	s.wantPasswords("n1", db)
	c, _ := s.docker.get("cf-n1")
	node, err := state.JSON[patroni.NodeConfig]([]byte(c.Files[patroni.NodeFile]))
	if err != nil || node.Admin != db.AdminCredentials || node.Admin.Password != "new" {
		t.Errorf("got %+v, %v", node.Admin, err)
	}
}

// Spare passwords that are sealed under another key are not given to anybody: the node
// runs on with what it has.
func TestSealedSparePasswordsAreNotGiven(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1")
	s.record(db)
	s.run()
	s.awaitPhase("n1", state.PhaseRunning)
	s.docker.forget()
	db.OfferLogins(func() state.Secret { return "sealed:under another key" })
	s.record(db)
	s.certify("n1", "first")
	s.wantTLS("n1", tlsOf("first", false))
	if c, _ := s.docker.get("cf-n1"); c.Files[patroni.PasswordsFile] != "" {
		t.Errorf("the node was given %s", c.Files[patroni.PasswordsFile])
	}
}
