package federation

import "slices"

// Decide is the moment of a transaction: after it everybody follows, before it
// nobody has. It fails if the round's time is over, or anything has changed.
func (s *Site) Decide(r *Round) error {
	if !r.Ready() {
		return refuse(Unable, "not everybody has agreed")
	}
	if !s.reviews(r.tx) || s.self.Epoch != r.base.Epoch || !s.now.Before(s.overlay.Expires) {
		return refuse(Silent, "the review ran out before everybody had agreed")
	}
	if r.proposal.Kind == Release {
		s.pin(r.proposal.Instance)
		if s.exists(r.proposal.Instance) {
			return refuse(Unable, "instance %s exists", r.proposal.Instance)
		}
	}
	if p := r.proposal; p.Kind == Move && !s.consents(p.Instance, p.Home) {
		return refuse(Unable, "instance %s is not, or no longer, ready to move to %s", p.Instance, p.Home)
	}
	e := Entry{
		Federation: s.self.Federation, Epoch: s.self.Epoch + 1, Tx: r.tx, Coordinator: s.self.DC,
		Proposal: r.proposal, Prev: s.self.Chain, Members: after(s.self, r.proposal),
	}
	if s.self.State == Standalone {
		e.Federation, e.Members = r.tx, append([]Peer{s.self.Peer}, r.proposal.Peers...)
	}
	e = e.sealed()
	if r.proposal.Kind == Leave {
		s.depart(e)
	} else if err := s.adopt(e); err != nil {
		return err
	}
	for _, m := range e.Members {
		if m.DC != s.self.DC {
			s.outbox.put(LetterID{e.Tx, m.DC}, Letter{To: m, Epoch: e.Epoch, Candidate: r.proposal.adds(m)})
		}
	}
	return nil
}

// depart makes the leaver leave: it stays until the others know.
func (s *Site) depart(e Entry) {
	self := s.self
	self.State, self.Epoch, self.Chain, self.Members = Leaving, e.Epoch, e.Chain, e.Members
	s.setSelf(self)
	s.log.put(e.Epoch, e)
	s.dropOverlay()
	s.settle(e)
}

// Mail returns what the outbox holds as requests, those to candidates first.
func (s *Site) Mail() []Request {
	var out []Request
	for id, l := range s.outbox.all() {
		e, ok := s.log.get(l.Epoch)
		if !ok || l.Elsewhere != "" {
			continue
		}
		req := Request{
			Verb: Commit, Tx: id.Tx, From: s.self.Peer, To: l.To, Federation: e.Federation, Base: e.Epoch - 1, Chain: e.Prev,
			Proposal: e.Proposal, Entry: e, Candidate: l.Candidate, TTL: s.ttl,
		}
		if l.Candidate {
			req.GIPs = map[int]GIP{}
			for port, g := range s.gips.all() {
				req.GIPs[port] = g
			}
		}
		out = append(out, req)
	}
	slices.SortStableFunc(out, func(a, b Request) int {
		if a.Candidate == b.Candidate {
			return a.Entry.Epoch - b.Entry.Epoch
		}
		if a.Candidate {
			return -1
		}
		return 1
	})
	return out
}

// Delivered takes the answer to one of Mail's requests.
func (s *Site) Delivered(req Request, reply Reply, err error) error {
	id := LetterID{req.Tx, req.To.DC}
	l, ok := s.outbox.get(id)
	switch {
	case !ok || l.To.UUID != req.To.UUID || reply.Again:
	case err == nil, codeOf(err) == Gone:
		s.outbox.remove(id)
	case codeOf(err) == Elsewhere && l.Candidate:
		l.Elsewhere = err.Error()
		s.outbox.put(id, l)
	case codeOf(err) == Fork && s.self.State == Leaving:
		s.outbox.remove(id) // they have evicted this site meanwhile
	}
	return nil
}

// Strays are the candidates that were decided on and went elsewhere: this site
// is to evict them. Several members may find that out; the first of them acts,
// so that they do not stand in each other's way.
func (s *Site) Strays() []Peer {
	var out []Peer
	for _, l := range s.outbox.all() {
		if l.Elsewhere != "" {
			out = append(out, l.To)
		}
	}
	for _, m := range s.self.Members {
		if !slices.ContainsFunc(out, m.is) {
			if m.is(s.self.Peer) {
				return out
			}
			return nil
		}
	}
	return nil
}

// Doubts returns what the site has to ask about ports that it holds for
// transactions whose outcome it does not know.
func (s *Site) Doubts() []Request {
	var out []Request
	for tx, h := range s.holds.all() {
		if !s.reviews(tx) {
			out = append(out, Request{
				Verb: Ask, Tx: tx, From: s.self.Peer, To: h.Coordinator, Coordinator: h.Coordinator.DC,
				Federation: s.self.Federation, Base: h.BaseEpoch,
			})
		}
	}
	return out
}

// Resolved takes the answer to one of Doubts' requests.
func (s *Site) Resolved(req Request, reply Reply, err error) error {
	if h, ok := s.holds.get(req.Tx); ok && err == nil && reply.Outcome == Aborted {
		s.dropHold(req.Tx, h)
	}
	return nil
}
