package federation

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// carrier takes what brokers say about moving instances from site to site. It
// keeps in memory what it has delivered: a later one delivers it again.
type carrier struct {
	*Federation
	news chan struct{}
	// told is what the other site has taken, by instance.
	told map[string]notice
}

// notice names a MoveNote.
type notice struct {
	move string
	seq  int
}

func noticeOf(n state.MoveNote) notice { return notice{n.Move, n.Seq} }

func newCarrier(f *Federation) *carrier {
	return &carrier{Federation: f, news: make(chan struct{}, 1), told: map[string]notice{}}
}

// hurry has the carrier look at once.
func (c *carrier) hurry() { poke(c.news) }

// run carries until ctx ends, while this process is the elected one.
func (c *carrier) run(ctx context.Context) error {
	c.rounds(ctx, c.news, func() {
		if !c.elected.Load() {
			clear(c.told)
			return
		}
		notes := c.own()
		c.keep(notes)
		for _, n := range notes {
			c.serve(ctx, n)
		}
	})
	return nil
}

// own returns what the site's own brokers say, the oldest move first.
func (c *carrier) own() []state.MoveNote {
	var all []state.MoveNote
	c.engine.View(func() {
		for e := range c.store.moves.All() {
			if e.Params[1] == state.MoveOwn {
				all = append(all, e.Value)
			}
		}
	})
	slices.SortFunc(all, func(a, b state.MoveNote) int { return cmp.Compare(a.Move, b.Move) })
	return all
}

// keep forgets what was told of instances that nothing is to be told of any more.
func (c *carrier) keep(notes []state.MoveNote) {
	maps.DeleteFunc(c.told, func(instance string, _ notice) bool {
		return !slices.ContainsFunc(notes, func(n state.MoveNote) bool { return n.Instance == instance })
	})
}

// serve does what one note asks for: it is delivered, and a move that is ready
// is decided. What fails is there again the next time.
func (c *carrier) serve(ctx context.Context, n state.MoveNote) {
	if c.told[n.Instance] != noticeOf(n) {
		if err := c.tell(ctx, n); err != nil {
			c.try(ctx, "telling a site about a moving instance", err, "instance", n.Instance, "stage", string(n.Stage))
			return
		}
		c.told[n.Instance] = noticeOf(n)
	}
	switch n.Stage {
	case state.MoveReady:
		c.decide(ctx, n)
	case state.MoveWithdrawn:
		c.try(ctx, "closing a move", c.closeWithdrawn(ctx, n), "instance", n.Instance)
	case state.MoveClosed:
		c.try(ctx, "forgetting a move", c.forget(ctx, n), "instance", n.Instance)
	}
}

// tell delivers a note to the other site. One that is no member any more is told nothing.
func (c *carrier) tell(ctx context.Context, n state.MoveNote) error {
	var other Peer
	var member bool
	err := c.store.read(ctx, func(s *Site) { other, member = s.self.member(otherSite(n)) })
	if err != nil || !member {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Patience)
	defer cancel()
	return c.peers.call(ctx, other, http.MethodPost, "/v1/federation/moves", "", n, &struct{}{})
}

// otherSite returns the site that a note is for.
func otherSite(n state.MoveNote) string {
	if n.Author == n.From {
		return n.To
	}
	return n.From
}

// decide has the members agree to the new home. Why they do not is written down
// for the broker, which bounds the wait.
func (c *carrier) decide(ctx context.Context, n state.MoveNote) {
	home := ""
	c.engine.View(func() { home = c.store.homeOf(n.Instance) })
	if home != n.From {
		return
	}
	err := c.propose(ctx, Proposal{Kind: Move, Instance: n.Instance, Home: n.To}, "")
	if err == nil {
		return
	}
	verdict := state.MoveNote{Move: n.Move, Instance: n.Instance, From: n.From, To: n.To, Why: err.Error()}
	c.try(ctx, "noting why a move is not decided", c.change(ctx, n, func(tx *state.Tx, _ state.MoveNote) {
		tx.PutJSON(state.FederationMoveKey(n.Instance, state.MoveVerdict), verdict)
	}), "instance", n.Instance)
	// Another round may be in the way: it is over soon.
	select {
	case <-ctx.Done():
	case <-time.After(retryPause):
		c.hurry()
	}
}

// closeWithdrawn ends a move of which the other site has said that nothing is
// left there, or that nobody can be asked about.
func (c *carrier) closeWithdrawn(ctx context.Context, n state.MoveNote) error {
	gone, err := c.gone(ctx, n)
	if err != nil {
		return err
	}
	return c.change(ctx, n, func(tx *state.Tx, now state.MoveNote) {
		peer, said, err := loadNote(tx, n.Instance, state.MovePeer)
		if !gone && (err != nil || !said || peer.Move != n.Move || peer.Stage != state.MoveRefused) {
			return
		}
		now.Stage, now.Parcel = state.MoveClosed, nil
		now.Seq++
		tx.PutJSON(state.FederationMoveKey(n.Instance, state.MoveOwn), now)
	})
}

// gone reports whether the other site is no member any more.
func (c *carrier) gone(ctx context.Context, n state.MoveNote) (gone bool, err error) {
	err = c.store.read(ctx, func(s *Site) {
		_, member := s.self.member(otherSite(n))
		gone = !member
	})
	return gone, err
}

// forget removes what is left of a closed move here. The other site has been
// told.
func (c *carrier) forget(ctx context.Context, n state.MoveNote) error {
	return c.change(ctx, n, func(tx *state.Tx, _ state.MoveNote) { forgetMove(tx, n.Instance) })
}

func forgetMove(tx *state.Tx, instance string) {
	for _, side := range []string{state.MoveOwn, state.MovePeer, state.MoveVerdict} {
		tx.Delete(state.FederationMoveKey(instance, side))
	}
}

// change changes something about a move while the site's own note is n.
func (c *carrier) change(ctx context.Context, n state.MoveNote, apply func(tx *state.Tx, now state.MoveNote)) error {
	return c.engine.Do(ctx, state.Group{Name: "federation: move of " + n.Instance, Apply: func(tx *state.Tx) error {
		now, said, err := loadNote(tx, n.Instance, state.MoveOwn)
		if err != nil {
			return err
		}
		if !said || noticeOf(now) != noticeOf(n) {
			return state.ErrSkip
		}
		apply(tx, now)
		return nil
	}})
}

func loadNote(tx *state.Tx, instance, side string) (state.MoveNote, bool, error) {
	return state.Load(tx, state.FederationMoveKey(instance, side), state.JSON[state.MoveNote])
}
