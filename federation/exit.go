package federation

import "slices"

// Greeting asks another member whether this site is still one, and what it has
// missed.
func (s *Site) Greeting(to Peer) Request {
	return Request{Verb: Hello, From: s.self.Peer, To: to, Federation: s.self.Federation, Base: s.self.Epoch, Chain: s.self.Chain}
}

// Greeted takes the answer to a Greeting. Whoever coordinated a decision may
// have died before it told everybody: what one member knows, others learn so.
func (s *Site) Greeted(req Request, reply Reply, err error) error {
	if err != nil || s.self.UUID != req.From.UUID || s.isMember() != nil {
		return nil
	}
	if reply.Federation == s.self.Federation {
		s.forgive(reply.Peer)
	}
	switch {
	case reply.Evicted > 0:
		s.freeze(reply.Evicted)
	case reply.Next != nil && s.takes(*reply.Next):
		return s.adopt(*reply.Next)
	case reply.Federation != s.self.Federation:
		s.remind(req.To)
	}
	return nil
}

// next returns the decision that a member has missed, nil if none.
func (s *Site) next(req Request) *Entry {
	if m, ok := s.self.member(req.From.DC); !ok || !m.is(req.From) || s.self.Federation != req.Federation {
		return nil
	}
	if e, ok := s.log.get(req.Base + 1); ok && e.Prev == req.Chain {
		return &e
	}
	return nil
}

// takes reports whether the site can take a decision from another than its
// coordinator.
func (s *Site) takes(e Entry) bool {
	return s.isFree(e.Tx) == nil && s.isHeard(e.Coordinator) == nil &&
		e.follows(s.self.Federation, s.self.Epoch, s.self.Chain) && slices.ContainsFunc(e.Members, s.self.is)
}

// remind writes a member that does not know it a letter: the last decision made
// it one, and whoever coordinated that has not told it.
func (s *Site) remind(to Peer) {
	e, ok := s.log.get(s.self.Epoch)
	id := LetterID{e.Tx, to.DC}
	if _, written := s.outbox.get(id); ok && e.Proposal.adds(to) && !written {
		s.outbox.put(id, Letter{To: to, Epoch: e.Epoch, Candidate: true})
	}
}

// forgive drops the letter to a candidate that went elsewhere, and is a member all
// the same: what was in the way has gone, and another member's letter came.
func (s *Site) forgive(to Peer) {
	for id, l := range s.outbox.all() {
		if l.Elsewhere != "" && l.To.is(to) {
			s.outbox.remove(id)
		}
	}
}

// freeze stops a member that the others have gone on without.
func (s *Site) freeze(epoch int) {
	self := s.self
	self.Evicted = epoch
	s.setSelf(self)
	for id := range s.outbox.all() {
		s.outbox.remove(id)
	}
	for tx, h := range s.holds.all() {
		s.dropHold(tx, h)
	}
}

// Retire makes a site that is leaving standalone, once everybody knows. uuid is
// a fresh one.
func (s *Site) Retire(uuid string) error {
	for range s.outbox.all() {
		return nil
	}
	if s.self.State == Leaving {
		s.alone(uuid)
	}
	return nil
}

// Reset makes a site standalone that was evicted, or that holds remains of a
// federation that it did not come to join. uuid is a fresh one.
func (s *Site) Reset(uuid string) error {
	switch {
	case s.overlay != nil:
		return s.overlay.busy(s.self.DC, s.now)
	case s.self.Evicted > 0, s.self.State == Standalone && s.isEmpty(nil) != nil:
		s.alone(uuid)
		return nil
	}
	return refuse(Unable, "%s is %s: only a site that was evicted is reset", s.self.DC, s.self.State)
}

// alone gives up all that belongs to a federation. Instances keep their ports,
// which are this site's own from now on.
func (s *Site) alone(uuid string) {
	for port := range s.gips.all() {
		s.dropGIP(port)
	}
	for tx, h := range s.holds.all() {
		s.dropHold(tx, h)
	}
	for id := range s.outbox.all() {
		s.outbox.remove(id)
	}
	for epoch := range s.log.all() {
		s.log.remove(epoch)
	}
	s.setSelf(Self{Peer: Peer{DC: s.self.DC, UUID: uuid, Address: s.self.Address}, State: Standalone})
}
