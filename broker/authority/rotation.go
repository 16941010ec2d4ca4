package authority

import (
	"errors"
	"slices"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// Phase is where the replacement of a site's authority stands.
type Phase string

// The phases, in the order in which they come. What makes a client's trust fail is
// a server that shows what it has not been told of, so each change of what servers
// show lies between two changes of what clients are told.
const (
	// Absent: there is no authority yet.
	Absent Phase = "absent"
	// Settled: there is one authority.
	Settled Phase = "settled"
	// Announced: clients are told of a second one, the first one signs.
	Announced Phase = "announced"
	// Switched: the second one signs, clients are still told of the first.
	Switched Phase = "switched"
)

// PhaseOf returns where a site stands.
func PhaseOf(ca state.SiteCA) Phase {
	switch n := len(ca.Authorities); {
	case n == 0:
		return Absent
	case n == 1:
		return Settled
	case ca.Signer == ca.Authorities[0].ID:
		return Announced
	}
	return Switched
}

// Errors of steps that do not come next.
var (
	ErrUnderWay  = errors.New("the authority is being replaced already")
	ErrNotBegun  = errors.New("no new authority has been announced")
	ErrNotSwitch = errors.New("the new authority does not sign yet")
)

// Announce begins the replacement: clients are to trust next, too.
func Announce(ca state.SiteCA, next state.Authority) (state.SiteCA, error) {
	switch PhaseOf(ca) {
	case Absent:
		return state.SiteCA{Version: state.RecordVersion, Authorities: []state.Authority{next}, Signer: next.ID}, nil
	case Settled:
		ca.Authorities = append(slices.Clone(ca.Authorities), next)
		return ca, nil
	}
	return ca, ErrUnderWay
}

// Switch has the new authority sign.
func Switch(ca state.SiteCA) (state.SiteCA, error) {
	if PhaseOf(ca) != Announced {
		return ca, ErrNotBegun
	}
	ca.Signer = ca.Authorities[1].ID
	return ca, nil
}

// Retire ends the replacement: clients are told of the new authority alone. No
// server may show what the old one has signed.
func Retire(ca state.SiteCA) (state.SiteCA, error) {
	if PhaseOf(ca) != Switched {
		return ca, ErrNotSwitch
	}
	ca.Authorities = slices.Clone(ca.Authorities[1:])
	return ca, nil
}

// IsGood reports whether a server may go on with a certificate: signed by who signs
// now, for these names, and not about to end. One that ends with its authority is
// not replaced before the authority is.
func IsGood(c state.Certificate, ca state.SiteCA, names []string, now time.Time) bool {
	signer, ok := ca.Signing()
	return ok && c.Signer == signer.ID && slices.Equal(c.Names, names) &&
		(c.Expires.Sub(now) > RenewBefore || !c.Expires.Before(signer.Expires))
}
