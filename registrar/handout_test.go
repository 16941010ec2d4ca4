package registrar_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// certify puts a node's certificate into etcd, as brokers do.
func (s *site) certify(node, certificate string) {
	s.Helper()
	s.putJSON(state.CertificateKey("db1", node), state.Certificate{
		InstanceID: "db1", NodeID: node, Certificate: certificate, PrivateKey: "key of " + state.Secret(certificate),
	})
}

// wantTLS waits until a container has been given that to speak TLS with.
func (s *site) wantTLS(node string, want patroni.ServerTLS) {
	s.Helper()
	content, err := want.Encode()
	if err != nil {
		s.Fatal(err)
	}
	s.patiently("the node has what it is to speak TLS with", func() bool {
		c, _ := s.docker.get("cf-" + node)
		return c.Files[patroni.TLSFile] == string(content)
	})
}

func tlsOf(certificate string, required bool) patroni.ServerTLS {
	return patroni.ServerTLS{Certificate: certificate, PrivateKey: "key of " + state.Secret(certificate), Required: required}
}

// A certificate is in a container before it starts, and another one comes while it
// runs: it is told to look, and goes on.
func TestNodeIsGivenItsCertificate(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1", "n2")
	s.certify("n1", "first")
	s.record(db)
	s.run()
	s.awaitPhase("n1", state.PhaseRunning)
	s.awaitPhase("n2", state.PhaseRunning)
	s.wantTLS("n1", tlsOf("first", false))
	c, _ := s.docker.get("cf-n1")
	if got := c.Files["owner of tls.json"]; got != "999:999 400" {
		t.Errorf("the file has owner and mode %q, want 999:999 400", got)
	}
	if other, _ := s.docker.get("cf-n2"); other.Files[patroni.TLSFile] != "" {
		t.Error("a node without a certificate was given one")
	}
	s.docker.forget()
	s.certify("n1", "second")
	s.wantTLS("n1", tlsOf("second", false))
	s.await("it is told to look", func() bool { return slices.Contains(s.docker.history(), "reload cf-n1") })
	db.RequireTLS = true
	s.record(db)
	s.wantTLS("n1", tlsOf("second", true))
	if got := strings.Join(s.docker.history(), ", "); strings.Contains(got, "die") || strings.Contains(got, "n2") {
		t.Errorf("history = %q: containers were disturbed", got)
	}
}

// A node that can not be given its certificate runs all the same.
func TestNodeRunsWithoutACertificateThatIsSealed(t *testing.T) {
	s := newSite(t)
	s.putJSON(state.CertificateKey("db1", "n1"), state.Certificate{
		InstanceID: "db1", NodeID: "n1", Certificate: "first", PrivateKey: "sealed:under another key",
	})
	s.record(cluster("db1", "n1"))
	s.run()
	s.awaitPhase("n1", state.PhaseRunning)
	if c, _ := s.docker.get("cf-n1"); c.Files[patroni.TLSFile] != "" {
		t.Errorf("the node was given %s", c.Files[patroni.TLSFile])
	}
}

// A registrar that comes back does not know what its containers have: they are given
// it again, and not disturbed otherwise.
func TestCertificateIsGivenAgainByTheNextRegistrar(t *testing.T) {
	s := newSite(t)
	s.certify("n1", "first")
	s.record(cluster("db1", "n1"))
	stop := s.run()
	s.awaitPhase("n1", state.PhaseRunning)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s.certify("n1", "second")
	s.docker.forget()
	s.run()
	s.wantTLS("n1", tlsOf("second", false))
	s.await("it is told to look", func() bool { return slices.Contains(s.docker.history(), "reload cf-n1") })
	if got := s.docker.history(); !slices.Equal(got, []string{"reload cf-n1"}) {
		t.Errorf("history = %q, want a reload alone", got)
	}
}
