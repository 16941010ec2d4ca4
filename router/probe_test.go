package router_test

import (
	"net/netip"
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

// Of the addresses of a name one is taken where somebody listens.
func TestChoosesAnAddressThatAnswers(t *testing.T) {
	nobody := netip.MustParseAddrPort("127.0.0.1:1")
	somebody := netip.MustParseAddrPort(serve(t, echo))
	if got := router.Choose(t.Context(), nobody, somebody); got != somebody {
		t.Errorf("got %v, want %v, which answers", got, somebody)
	}
	if got := router.Choose(t.Context(), nobody, nobody); got != nobody {
		t.Errorf("got %v, want %v, as there is no other", got, nobody)
	}
}
