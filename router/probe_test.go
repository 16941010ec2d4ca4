package router_test

import (
	"testing"

	"github.com/pgpatron/pgpatron/router"
)

// One leader is not asked without a pause, whatever begins a new reign of it; the
// next one does not have to wait because the one before was asked.
func TestQuestionsKeepTheirDistanceOnlyToTheSameLeader(t *testing.T) {
	if pause := router.PauseBetween("n1", "n1"); pause <= 0 {
		t.Errorf("the same leader is asked again after %v, want a pause", pause)
	}
	if pause := router.PauseBetween("n1", "n2"); pause > 0 {
		t.Errorf("another leader is asked only after %v, want at once", pause)
	}
}
