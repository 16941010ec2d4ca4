package broker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// adopt records a cluster of one node that no registrar looks after: its test says
// what it shows.
func (s *site) adopt(id, node string) {
	s.t.Helper()
	record, err := json.Marshal(state.Cluster{InstanceID: id, Nodes: []state.Node{{NodeID: node, BackendID: "10.9.9.9"}}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.put(state.ClusterKey(id), string(record))
	s.poll("the node has a certificate", func() bool { return s.exists(state.CertificateKey(id, node)) })
}

// show has a node say that it shows the certificate that was signed for it last.
func (s *site) show(id, node string) {
	s.t.Helper()
	tag := patroni.CertificateTag(s.certificate(id, node).Certificate)
	s.put(state.MemberKey(id, node), fmt.Sprintf(`{"state": "running", "tags": {"pgpatron_certificate": %q}}`, tag))
}

// awaitSigner waits until a node's certificate is signed by who signs now.
func (s *site) awaitSigner(id, node string) {
	s.t.Helper()
	s.poll("the certificate is signed anew", func() bool { return s.certificate(id, node).Signer == s.siteCA().Signer })
}

// An authority is replaced in three steps, and at none of them a server shows what
// clients were not told of the step before.
func TestAuthorityIsReplaced(t *testing.T) {
	s := newSite(t)
	s.awaitCA()
	s.adopt("i", "n")
	s.show("i", "n")
	ops := operatorOf(t, s)
	step := func(name, phase string) admin.SiteCA {
		t.Helper()
		ca, err := ops.ReplaceSiteCA(t.Context(), name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if ca.Phase != phase {
			t.Errorf("%s: phase is %s, want %s", name, ca.Phase, phase)
		}
		return ca
	}
	refusedStep := func(name, words string) {
		t.Helper()
		_, err := ops.ReplaceSiteCA(t.Context(), name)
		refused(t, err, http.StatusConflict, words)
	}
	before, err := ops.SiteCA(t.Context())
	if err != nil || before.Phase != "settled" || len(before.Authorities) != 1 || before.Certificates != 1 || len(before.Waiting) != 0 {
		t.Fatalf("%+v (%v)", before, err)
	}
	refusedStep("switch", "no new authority")
	refusedStep("retire", "does not sign yet")
	_, err = ops.ReplaceSiteCA(t.Context(), "nonsense")
	refused(t, err, http.StatusNotFound, "nonsense")

	announced := step("rotate", "announced")
	if strings.Count(announced.Bundle, "BEGIN CERTIFICATE") != 2 || !strings.HasPrefix(announced.Bundle, before.Bundle) {
		t.Error("clients are not told of both authorities")
	}
	wantVerified(t, s.certificate("i", "n"), before.Bundle, "db.example", "10.9.9.9")
	refusedStep("rotate", "already")

	step("switch", "switched")
	s.awaitSigner("i", "n")
	wantVerified(t, s.certificate("i", "n"), announced.Bundle, "db.example", "10.9.9.9")
	now, err := ops.SiteCA(t.Context())
	if err != nil || !slices.Equal(now.Waiting, []string{"i.n"}) {
		t.Errorf("waiting is %q (%v), want the node that shows its old certificate", now.Waiting, err)
	}
	refusedStep("retire", "i.n")

	s.show("i", "n")
	s.poll("nobody is waited for", func() bool {
		ca, err := ops.SiteCA(t.Context())
		return err == nil && len(ca.Waiting) == 0
	})
	after := step("retire", "settled")
	wantVerified(t, s.certificate("i", "n"), after.Bundle, "db.example", "10.9.9.9")
	if strings.Contains(after.Bundle, before.Bundle) || after.Authorities[0].ID == before.Authorities[0].ID {
		t.Error("clients are told of the old authority still")
	}
}

// Bindings carry the authorities where every server of the instance shows a
// certificate.
func TestBindingsCarryTheAuthority(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.awaitCA()
	s.provision("i", singlePlan)
	node := s.cluster("i").Nodes[0].NodeID
	s.want(s.call("PUT", bindingPath("i", "b"), order(singlePlan)), http.StatusCreated)
	carried := func() string {
		return s.want(s.call("GET", bindingPath("i", "b"), nil), http.StatusOK).bound(t).Credentials.CA
	}
	if got := carried(); got != "" {
		t.Errorf("the binding of servers that speak plain carries %q", got)
	}
	s.nodes.Hold()
	s.show("i", node)
	s.poll("the binding carries the authority", func() bool { return carried() == s.siteCA().Bundle() })
}
