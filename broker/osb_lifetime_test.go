package broker_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// lasting is a request to bind for a day.
func lasting(plan string) map[string]any {
	return bindOrder(plan, map[string]any{"parameters": map[string]any{"lifetime": "1d"}})
}

func TestLifetime(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	made := s.want(s.call("PUT", bindingPath("i1", "b1"), lasting(singlePlan)), http.StatusCreated).bound(t)
	got := s.want(s.call("GET", bindingPath("i1", "b1"), nil), http.StatusOK).bound(t)
	if made.Metadata == nil || got.Metadata == nil || *made.Metadata != *got.Metadata {
		t.Fatalf("metadata is %v, then %v", made.Metadata, got.Metadata)
	}
	const form = "2006-01-02T15:04:05.0Z"
	expires, err := time.Parse(form, got.Metadata.ExpiresAt)
	if err != nil {
		t.Fatal(err)
	}
	renew, err := time.Parse(form, got.Metadata.RenewBefore)
	if err != nil {
		t.Fatal(err)
	}
	login, _ := s.database.login("i1", made.Credentials.Username)
	if !login.Expires.Equal(expires) {
		t.Errorf("the database lets the login in until %v, the platform was told %v", login.Expires, expires)
	}
	if left := expires.Sub(renew); left != 24*time.Hour/5 {
		t.Errorf("renew_before is %v before expires_at", left)
	}
	forever := s.want(s.call("PUT", bindingPath("i1", "b2"), bindOrder(singlePlan, nil)), http.StatusCreated).bound(t)
	if forever.Metadata != nil {
		t.Errorf("a binding without a lifetime has metadata %+v", forever.Metadata)
	}
}

// When its time is over a login ends by itself, also if the broker was away
// then; what is left is for the platform to delete.
func TestLoginExpires(t *testing.T) {
	for name, away := range map[string]bool{"broker is there": false, "broker was away": true} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "10.0.0.1")
			s.provision("i1", singlePlan)
			made := s.want(s.call("PUT", bindingPath("i1", "b1"), lasting(singlePlan)), http.StatusCreated).bound(t)
			if away {
				s.stop()
			}
			edit(s, state.BindingKey("i1", "b1"), func(b *state.Binding) { b.Expires = time.Now().Add(50 * time.Millisecond) })
			if away {
				s.start()
			}
			s.poll("the login is gone", func() bool {
				_, there := s.database.login("i1", made.Credentials.Username)
				return !there
			})
			s.poll("the binding says so", func() bool {
				r := s.call("GET", bindingPath("i1", "b1")+"/last_operation", nil)
				return r.field(t, "description") == "login is expired"
			})
			r := s.want(s.call("GET", bindingPath("i1", "b1"), nil), http.StatusNotFound)
			if !strings.Contains(r.body, "expired at") {
				t.Errorf("GET says %s", r.body)
			}
			s.want(s.call("PUT", bindingPath("i1", "b1"), lasting(singlePlan)), http.StatusConflict)
			s.want(s.call("DELETE", bindingPath("i1", "b1")+ids(singlePlan), nil), http.StatusOK)
			s.want(s.call("PUT", bindingPath("i1", "b1"), lasting(singlePlan)), http.StatusCreated)
		})
	}
}
