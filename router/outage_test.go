package router_test

import (
	"testing"

	"github.com/pgpatron/pgpatron/router"
)

// Each break has a grace of its own, though the plane has not seen the circuit
// closed in between.
func TestEachBreakHasItsGrace(t *testing.T) {
	o := router.NewOutage()
	o.Turn(true)
	if !o.Heed() {
		t.Error("no grace begins with the first break")
	}
	if o.Heed() {
		t.Error("the grace begins again though nothing has changed")
	}
	o.Turn(false)
	o.Turn(true)
	if o.End() {
		t.Error("the grace of the first break has ended the second one's")
	}
	if !o.Heed() {
		t.Error("no grace begins with the second break")
	}
	if !o.End() {
		t.Error("sessions are not cut after the grace")
	}
	o.Turn(false)
	o.Turn(true)
	if !o.Heed() {
		t.Error("no grace begins with a break after sessions were cut")
	}
	o.Turn(false)
	if o.Heed() || o.End() {
		t.Error("the circuit is closed, and sessions end nevertheless")
	}
}
