package federation

import (
	"fmt"
	"net/http"

	"github.com/pgpatron/pgpatron/state"
)

// serveNote takes what another site says about a moving instance.
func (f *Federation) serveNote(w http.ResponseWriter, r *http.Request) {
	var n state.MoveNote
	if !take(w, r, &n) {
		return
	}
	if name := caller(r); name != n.Author {
		http.Error(w, fmt.Sprintf("the certificate is of %q, the note says it is from %q", name, n.Author), http.StatusForbidden)
		return
	}
	if n.Instance == "" || n.Move == "" || n.Author != n.From && n.Author != n.To {
		http.Error(w, "the note does not say which move it is about", http.StatusBadRequest)
		return
	}
	var refusal error
	err := f.engine.Do(r.Context(), state.Group{Name: "federation: note about " + n.Instance, Apply: func(tx *state.Tx) error {
		refusal = f.takeNote(tx, n)
		return nil
	}})
	if err == nil {
		err = refusal
	}
	answer(w, struct{}{}, err)
}

// takeNote keeps a note of another member's for the brokers. One that comes
// late or twice changes nothing.
func (f *Federation) takeNote(tx *state.Tx, n state.MoveNote) error {
	self, _, err := state.Load(tx, state.FederationSelfKey(), state.JSON[Self])
	if err != nil {
		return err
	}
	if _, member := self.member(n.Author); !member || self.State != Member || self.Evicted > 0 || otherSite(n) != self.DC {
		return refuse(Unable, "%s takes no note about instance %s from %s", f.cfg.DC, n.Instance, n.Author)
	}
	own, speaks, errOwn := loadNote(tx, n.Instance, state.MoveOwn)
	peer, heard, errPeer := loadNote(tx, n.Instance, state.MovePeer)
	switch {
	case errOwn != nil || errPeer != nil:
		return refuse(Unable, "what %s knows about the move of instance %s can not be read", f.cfg.DC, n.Instance)
	case speaks && contradict(own, n) || heard && contradict(peer, n):
		return refuse(Unable, "%s knows move %s of instance %s as one between other sites", f.cfg.DC, n.Move, n.Instance)
	case n.Stage == state.MoveClosed:
		if speaks && own.Move == n.Move || !speaks && heard && peer.Move == n.Move {
			forgetMove(tx, n.Instance)
		}
		return nil
	case heard && peer.Move == n.Move && peer.Seq >= n.Seq:
		return nil
	case speaks && own.Move != n.Move:
		return refuse(Busy, "%s is not yet done with another move of instance %s", f.cfg.DC, n.Instance)
	case !speaks && n.Author == n.To:
		return nil // nobody asked
	case !speaks && f.store.homeOf(n.Instance) != n.From:
		return refuse(Unable, "%s is not the home of a global port of instance %s", n.From, n.Instance)
	}
	tx.PutJSON(state.FederationMoveKey(n.Instance, state.MovePeer), n)
	return nil
}

// contradict reports whether two notes tell of the same move between different
// sites: then a third site speaks.
func contradict(a, b state.MoveNote) bool {
	return a.Move == b.Move && (a.From != b.From || a.To != b.To)
}
