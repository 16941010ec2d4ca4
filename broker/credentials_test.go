package broker

import (
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/pgpatron/pgpatron/state"
)

// Whatever is in a password, drivers read it out of the URI as it was.
func TestCredentialsAreEncodedRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		role := rapid.StringMatching(`[a-z_]{1,20}`).Draw(t, "role")
		password := rapid.StringMatching(`[ -~]{1,30}`).Draw(t, "password")
		c := newCredentials("db.example", state.Cluster{AllocatedPort: 30006, Database: "app"}, state.Binding{Role: role}, state.Secret(password))
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
	c := newCredentials("2001:db8::1", state.Cluster{AllocatedPort: 30006, Database: "app"}, state.Binding{Role: "r"}, "p")
	if want := "postgresql://r:p@[2001:db8::1]:30006/app"; c.URI != want {
		t.Errorf("uri is %s, want %s", c.URI, want)
	}
}
