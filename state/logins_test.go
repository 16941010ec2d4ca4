package state_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/state"
)

// The changes of a replacement: new passwords are known before they hold, and old
// ones as long as they may.
func TestLoginsAreReplaced(t *testing.T) {
	c := published()
	c.ReplicationCredentials = state.Credentials{Username: "replicator", Password: "r"}
	c.RESTCredentials = state.Credentials{Username: "patroni", Password: "p"}
	old := c.Logins()
	made := 0
	password := func() state.Secret { made++; return state.Secret(fmt.Sprint("new", made)) }

	c.OfferLogins(password)
	fresh, there := c.SpareLogins()
	if !there || made != 4 || c.Logins() != old || fresh.Set == old.Set || c.LoginEdition != 1 {
		t.Errorf("offered: %+v", c)
	}
	if fresh.Superuser.Username != "postgres" || fresh.Superuser.Password == fresh.Admin.Password {
		t.Errorf("offered: %+v", fresh)
	}
	c.AdoptLogins()
	if spare, _ := c.SpareLogins(); spare != old || c.Logins() != fresh || c.LoginEdition != 2 {
		t.Errorf("adopted: %+v", c)
	}
	if got := c.AdminLogins(); len(got) != 2 || got[0] != fresh.Admin || got[1] != old.Admin {
		t.Errorf("the broker's logins are %+v", got)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if read, err := state.JSON[state.Cluster](b); err != nil || !cmp.Equal(read, c) {
		t.Errorf("the record is written wrongly (%v): %s", err, b)
	}
	c.RetireLogins()
	if _, there := c.SpareLogins(); there || c.Logins() != fresh || c.LoginEdition != 3 || len(c.AdminLogins()) != 1 {
		t.Errorf("retired: %+v", c)
	}
	before := c
	c.AdoptLogins()
	c.RetireLogins()
	if diff := cmp.Diff(before, c); diff != "" {
		t.Errorf("without spare passwords something changed: %s", diff)
	}
}
