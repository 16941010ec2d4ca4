package broker_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/sealed"
)

func (s *site) siteCA() state.SiteCA {
	s.t.Helper()
	return kept[state.SiteCA](s, state.SiteCAKey())
}

func (s *site) certificate(id, node string) state.Certificate {
	s.t.Helper()
	return kept[state.Certificate](s, state.CertificateKey(id, node))
}

// kept returns the record at a key; a zero one if there is none.
func kept[T any](s *site, key string) T {
	s.t.Helper()
	var record T
	raw, _, there := s.value(key)
	if !there {
		return record
	}
	if err := json.Unmarshal([]byte(raw), &record); err != nil {
		s.t.Fatal(err)
	}
	return record
}

// awaitCA waits until the site has an authority.
func (s *site) awaitCA() {
	s.t.Helper()
	s.poll("the site has an authority", func() bool { return s.exists(state.SiteCAKey()) })
}

// wantVerified checks that clients that trust a bundle take a certificate for hosts.
func wantVerified(t *testing.T, c state.Certificate, bundle string, hosts ...string) {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.PrivateKey.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(bundle))
	for _, host := range hosts {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Errorf("a client that asks for %s refuses: %v", host, err)
		}
	}
}

// A node has a certificate, good for the routers'
// host and its own; it goes with the node.
func TestNodesHaveCertificates(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.awaitCA()
	s.provision("i", clusterPlan)
	ca := s.siteCA()
	nodes := s.cluster("i").Nodes
	for _, n := range nodes {
		s.poll("the node has a certificate", func() bool { return s.exists(state.CertificateKey("i", n.NodeID)) })
		wantVerified(t, s.certificate("i", n.NodeID), ca.Bundle(), "db.example", n.BackendID)
	}
	if a, b := s.certificate("i", nodes[0].NodeID), s.certificate("i", nodes[1].NodeID); a.PrivateKey == b.PrivateKey {
		t.Error("two nodes share a key")
	}
	s.deprovision("i", clusterPlan)
	for _, n := range nodes {
		if s.exists(state.CertificateKey("i", n.NodeID)) {
			t.Errorf("the certificate of %s is left", n.NodeID)
		}
	}
}

// Nodes from before there were certificates get some, and what nobody's node has left
// goes.
func TestOldNodesGetCertificates(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.awaitCA()
	s.provision("i", singlePlan)
	node := s.cluster("i").Nodes[0].NodeID
	before := s.certificate("i", node)
	s.put(state.CertificateKey("i", "gone"), `{}`)
	if _, err := s.client.Delete(t.Context(), state.CertificateKey("i", node)); err != nil {
		t.Fatal(err)
	}
	s.poll("the node has a certificate again", func() bool {
		now := s.certificate("i", node)
		return now.Certificate != "" && now.Certificate != before.Certificate
	})
	s.poll("the one of nobody is gone", func() bool { return !s.exists(state.CertificateKey("i", "gone")) })
}

// A broker that is told another host has every certificate signed for that.
func TestCertificatesFollowTheHost(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.awaitCA()
	s.provision("i", singlePlan)
	node := s.cluster("i").Nodes[0].NodeID
	s.stop()
	s.config.RouterHost = "db2.example"
	s.start()
	s.poll("the certificate names the new host", func() bool {
		return slices.Contains(s.certificate("i", node).Names, "db2.example")
	})
	wantVerified(t, s.certificate("i", node), s.siteCA().Bundle(), "db2.example", "10.0.0.1")
}

// Nobody opens an authority's key but brokers: it is sealed in etcd, and one with
// another key signs nothing.
func TestAuthorityIsSealed(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.awaitCA()
	if raw, _, _ := s.value(state.SiteCAKey()); strings.Contains(raw, "PRIVATE KEY") || len(s.siteCA().Authorities[0].Sealed) == 0 {
		t.Errorf("etcd has %s", raw)
	}
	s.stop()
	s.config.Seal = sealed.NewRing(sealed.NewKey([32]byte{2}))
	s.start()
	s.awaitBackend()
	s.want(s.call("PUT", async("i"), order(singlePlan)), http.StatusInternalServerError)
	if s.exists(state.ClusterKey("i")) {
		t.Error("a broker that can not sign has made a cluster")
	}
}
