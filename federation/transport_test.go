package federation_test

import (
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/federation"
	"github.com/pgpatron/pgpatron/fixtures"
)

// Certificates are read again when their files change, without a restart; a
// stranger's are refused.
func TestCertificates(t *testing.T) {
	t.Parallel()
	authority := fixtures.NewAuthority(t)
	a, b := newSite(t, authority, "dc-0"), newSite(t, authority, "dc-1")
	a.mustAdd(b)
	agree(t, a, b)
	authority.Issue(t, "dc-0")
	authority.Issue(t, "dc-1")
	if _, err := a.reserve("after the renewal"); err != nil {
		t.Errorf("with new certificates: %v", err)
	}
	agree(t, a, b)

	stranger := fixtures.NewAuthority(t)
	cert, key := stranger.Issue(t, "dc-0")
	for name, files := range map[string]federation.Files{
		"of another authority": {Cert: cert, Key: key, CA: authority.CA()},
		"of another site":      b.cfg.Files,
	} {
		client, err := federation.NewClient("dc-0", a.cfg.Listen, files)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Status(t.Context()); err == nil {
			t.Errorf("a certificate %s is let in", name)
		}
		client.Close()
	}
}

// What a site's files can not do is told before anybody is asked.
func TestFilesAreChecked(t *testing.T) {
	t.Parallel()
	authority := fixtures.NewAuthority(t)
	cert, key := authority.Issue(t, "dc-0")
	for name, test := range map[string]struct {
		files federation.Files
		dc    string
		want  string
	}{
		"good":                 {federation.Files{Cert: cert, Key: key, CA: authority.CA()}, "dc-0", ""},
		"of another site":      {federation.Files{Cert: cert, Key: key, CA: authority.CA()}, "dc-1", "not dc-1"},
		"of another authority": {federation.Files{Cert: cert, Key: key, CA: fixtures.NewAuthority(t).CA()}, "dc-0", "unknown authority"},
		"not there":            {federation.Files{Cert: cert + ".old", Key: key, CA: authority.CA()}, "dc-0", "no such file"},
		"a key, no authority":  {federation.Files{Cert: cert, Key: key, CA: key}, "dc-0", "holds no PEM certificate"},
	} {
		err := test.files.Check(test.dc)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestParseSite(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"dc-1,192.168.0.99,9610": "192.168.0.99:9610",
		"dc-1,2001:db8::1,9610":  "[2001:db8::1]:9610",
		"b,b.example.org,443":    "b.example.org:443",
	} {
		if got, err := federation.ParseSite(text); err != nil || got.Address != want {
			t.Errorf("%s: got %+v (%v), want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "dc-1", "dc-1,10.0.0.1", "dc-1,10.0.0.1,9610,x", "DC-1,10.0.0.1,9610", "-dc,10.0.0.1,9610", "dc_1,10.0.0.1,9610",
		"dc-1,10.0.0.256,9610", "dc-1,0.0.0.0,9610", "dc-1,::,9610", "dc-1,,9610", "dc-1,a..b,9610", "dc-1,10.0.0.1,0",
		"dc-1,10.0.0.1,65536", "dc-1,10.0.0.1,+9610", "dc-1,10.0.0.1,http", "dc-1,1.2.3,9610", strings.Repeat("a", 64) + ",10.0.0.1,9610",
	} {
		if got, err := federation.ParseSite(text); err == nil {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}
