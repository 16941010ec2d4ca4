package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/broker/admin"
)

// An operator reads which authority signs, what ends when, who is waited for and
// what he does next.
func TestAuthorityIsShownWithTheNextStep(t *testing.T) {
	day := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for phase, next := range map[string]string{
		"absent": "the elected broker", "settled": "pgpatron ca rotate", "announced": "pgpatron ca switch", "switched": "pgpatron ca retire",
	} {
		var out bytes.Buffer
		caTable(&out, admin.SiteCA{
			Phase:        phase,
			Authorities:  []admin.Authority{{ID: "old", Created: day, Expires: day.AddDate(10, 0, 0)}, {ID: "new", Signs: true, Created: day, Expires: day}},
			Certificates: 3, FirstExpires: day, Waiting: []string{"i.n"},
		})
		for _, want := range []string{phase, next, "old\tfalse\t2026-01-02\t2036-01-02", "new\ttrue", "3 servers", "i.n"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", phase, want, out.String())
			}
		}
	}
}
