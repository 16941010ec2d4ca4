package authority_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/broker/authority"
	"github.com/pgpatron/pgpatron/state"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newAuthority(t *testing.T) (authority.Authority, authority.Pair) {
	t.Helper()
	a, err := authority.New(now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := a.Pair()
	if err != nil {
		t.Fatal(err)
	}
	return a, pair
}

// verify reports how a client that trusts a bundle takes a certificate.
func verify(t *testing.T, leaf authority.Pair, bundle, host string, at time.Time) error {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(leaf.Certificate), []byte(leaf.Key.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(bundle))
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: at})
	return err
}

func TestClientsTakeWhatTheAuthoritySigns(t *testing.T) {
	_, pair := newAuthority(t)
	// As it comes back from where it is kept.
	a, err := authority.Open(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.Issue([]string{"db.example.com", "10.0.0.7", "fd00::7"}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"db.example.com", "10.0.0.7", "[fd00::7]"} {
		if err := verify(t, leaf, pair.Certificate, host, now); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	_, other := newAuthority(t)
	for name, err := range map[string]error{
		"another host":      verify(t, leaf, pair.Certificate, "db.example.org", now),
		"another authority": verify(t, leaf, other.Certificate, "db.example.com", now),
		"after its end":     verify(t, leaf, pair.Certificate, "db.example.com", leaf.Expires.Add(time.Second)),
	} {
		if err == nil {
			t.Errorf("%s: clients take it", name)
		}
	}
}

// A leaf can not sign, and does not outlive who signed it.
func TestLeafIsNoMoreThanItsAuthority(t *testing.T) {
	a, pair := newAuthority(t)
	leaf, err := a.Issue([]string{"db"}, pair.Expires.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if !leaf.Expires.Equal(pair.Expires) {
		t.Errorf("it ends at %v, its authority at %v", leaf.Expires, pair.Expires)
	}
	forger, err := authority.Open(leaf.Certificate, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := forger.Issue([]string{"bank.example"}, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(t, forged, pair.Certificate+leaf.Certificate, "bank.example", now); err == nil {
		t.Error("clients take what a leaf has signed")
	}
}

func TestOpenRefusesWhatDoesNotBelongTogether(t *testing.T) {
	_, one := newAuthority(t)
	_, other := newAuthority(t)
	for name, pair := range map[string]authority.Pair{
		"another's key":  {Certificate: one.Certificate, Key: other.Key},
		"no key":         {Certificate: one.Certificate, Key: "x"},
		"no certificate": {Certificate: "x", Key: one.Key},
	} {
		_, err := authority.Open(pair.Certificate, pair.Key)
		if err == nil || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", one, one, one); strings.Contains(text, "PRIVATE KEY") {
		t.Errorf("a pair prints as %s", text)
	}
}

// record returns an authority as a site keeps it.
func record(t *testing.T) state.Authority {
	t.Helper()
	_, pair := newAuthority(t)
	return state.Authority{ID: authority.ID(pair.Certificate), Certificate: pair.Certificate, Expires: pair.Expires}
}

// Through a whole replacement, whatever servers show is in what clients were told a
// step before.
func TestReplacement(t *testing.T) {
	old, next := record(t), record(t)
	want := func(ca state.SiteCA, phase authority.Phase, signer state.Authority, bundle string) {
		t.Helper()
		if got := authority.PhaseOf(ca); got != phase || ca.Signer != signer.ID || ca.Bundle() != bundle {
			t.Errorf("phase %s, signer %s, want %s, %s; the bundle is right: %t", got, ca.Signer, phase, signer.ID, ca.Bundle() == bundle)
		}
	}
	refused := func(want error, step func(state.SiteCA) (state.SiteCA, error), ca state.SiteCA) {
		t.Helper()
		if _, err := step(ca); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	announce := func(ca state.SiteCA) (state.SiteCA, error) { return authority.Announce(ca, next) }

	ca, err := authority.Announce(state.SiteCA{}, old)
	want(ca, authority.Settled, old, old.Certificate)
	refused(authority.ErrNotBegun, authority.Switch, ca)
	refused(authority.ErrNotSwitch, authority.Retire, ca)

	ca, errAnnounce := announce(ca)
	want(ca, authority.Announced, old, old.Certificate+next.Certificate)
	refused(authority.ErrUnderWay, announce, ca)
	refused(authority.ErrNotSwitch, authority.Retire, ca)

	ca, errSwitch := authority.Switch(ca)
	want(ca, authority.Switched, next, old.Certificate+next.Certificate)
	refused(authority.ErrNotBegun, authority.Switch, ca)
	refused(authority.ErrUnderWay, announce, ca)

	ca, errRetire := authority.Retire(ca)
	want(ca, authority.Settled, next, next.Certificate)
	if err := errors.Join(err, errAnnounce, errSwitch, errRetire); err != nil {
		t.Error(err)
	}
}

func TestIsGood(t *testing.T) {
	signer := record(t)
	ca, err := authority.Announce(state.SiteCA{}, signer)
	if err != nil {
		t.Fatal(err)
	}
	good := state.Certificate{Signer: signer.ID, Names: []string{"db"}, Expires: now.Add(authority.LeafLifetime)}
	ending := good
	ending.Expires = now.Add(authority.RenewBefore)
	foreign := good
	foreign.Signer = "another"
	last := good
	last.Expires = signer.Expires
	for name, c := range map[string]struct {
		certificate state.Certificate
		names       []string
		at          time.Time
		want        bool
	}{
		"as it should be":      {good, []string{"db"}, now, true},
		"for another name":     {good, []string{"db2"}, now, false},
		"about to end":         {ending, []string{"db"}, now, false},
		"of another signer":    {foreign, []string{"db"}, now, false},
		"ends with its signer": {last, []string{"db"}, signer.Expires.Add(-time.Hour), true},
		"there is none":        {state.Certificate{}, []string{"db"}, now, false},
	} {
		if got := authority.IsGood(c.certificate, ca, c.names, c.at); got != c.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
	if authority.IsGood(state.Certificate{}, state.SiteCA{}, nil, now) {
		t.Error("a certificate is good where nobody signs")
	}
}
