package broker

import (
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/pgpatron/pgpatron/state"
)

func doorOf(host string) door {
	return door{host: host, cluster: state.Cluster{AllocatedPort: 30006, Database: "app"}}
}

// Whatever is in a password, drivers read it out of the URI as it was.
func TestCredentialsAreEncodedRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		role := rapid.StringMatching(`[a-z_]{1,20}`).Draw(t, "role")
		password := rapid.StringMatching(`[ -~]{1,30}`).Draw(t, "password")
		c := doorOf("db.example").credentials(state.Binding{Role: role}, state.Secret(password))
		parsed, err := pgx.ParseConfig(c.URI)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.Host != "db.example" || parsed.Port != 30006 || parsed.User != role || parsed.Password != password || parsed.Database != "app" {
			t.Errorf("uri %q reads as %s@%s:%d/%s", c.URI, parsed.User, parsed.Host, parsed.Port, parsed.Database)
		}
		jdbc, err := url.Parse(c.JDBCURL[len("jdbc:"):])
		if err != nil {
			t.Fatal(err)
		}
		if jdbc.Host != "db.example:30006" || jdbc.Query().Get("user") != role || jdbc.Query().Get("password") != password {
			t.Errorf("jdbcUrl %q reads otherwise", c.JDBCURL)
		}
	})
}

func TestIPv6HostIsBracketed(t *testing.T) {
	c := doorOf("2001:db8::1").credentials(state.Binding{Role: "r"}, "p")
	if want := "postgresql://r:p@[2001:db8::1]:30006/app"; c.URI != want {
		t.Errorf("uri is %s, want %s", c.URI, want)
	}
}

// What servers are verified by is told where there is something, and the URIs insist
// on TLS where the servers do.
func TestCredentialsSpeakOfTLS(t *testing.T) {
	for name, c := range map[string]struct {
		trust   string
		require bool
		uri     string
	}{
		"plain servers":         {"", false, "postgresql://r:p@db:30006/app"},
		"TLS":                   {"PEM", false, "postgresql://r:p@db:30006/app"},
		"TLS is required":       {"PEM", true, "postgresql://r:p@db:30006/app?sslmode=require"},
		"required, not yet had": {"", true, "postgresql://r:p@db:30006/app"},
	} {
		in := doorOf("db")
		in.trust, in.cluster.RequireTLS, in.cluster.ReadOnlyPort = c.trust, c.require, 30007
		got := in.credentials(state.Binding{Role: "r"}, "p")
		if got.URI != c.uri || got.ReadURI != strings.Replace(c.uri, "30006", "30007", 1) || got.CACertificate != c.trust {
			t.Errorf("%s: uri %s, read_uri %s, ca_certificate %q", name, got.URI, got.ReadURI, got.CACertificate)
		}
		if insists := strings.Contains(got.JDBCURL, "sslmode=require"); insists != strings.Contains(c.uri, "sslmode") {
			t.Errorf("%s: jdbcUrl %s", name, got.JDBCURL)
		}
	}
}
