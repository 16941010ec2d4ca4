package federation

import "slices"

// commit takes a decision in. Without an error the site has it, now or before,
// unless it has to be told again.
func (s *Site) commit(req Request) (again bool, err error) {
	e := req.Entry
	if known, ok := s.log.get(e.Epoch); ok && req.To.UUID == s.self.UUID && known.Federation == e.Federation {
		if known.Chain == e.Chain {
			return false, nil
		}
		return false, refuse(Fork, "%s has another history at epoch %d", s.self.DC, e.Epoch)
	}
	if req.Candidate {
		return s.join(req)
	}
	if req.To.UUID != s.self.UUID {
		return false, refuse(Gone, "%s is not what it was: it has left federation %s", s.self.DC, e.Federation)
	}
	if s.self.Evicted > 0 {
		return false, refuse(Gone, "%s was evicted at epoch %d: it follows no decision any more", s.self.DC, s.self.Evicted)
	}
	if err := s.isMember(); err != nil {
		return false, err
	}
	if err := s.isFree(e.Tx); err != nil {
		return false, err
	}
	if err := s.atSamePoint(req); err != nil {
		return false, err
	}
	from, _ := s.self.member(req.From.DC)
	if err := req.tells(from.is(req.From) && e.Coordinator == from.DC); err != nil {
		return false, err
	}
	if err := s.isHeard(e.Coordinator); err != nil {
		return false, err
	}
	return false, s.adopt(e)
}

// tells refuses a Commit whose entry is not the decision that it says it is.
func (r Request) tells(authority bool) error {
	if !authority || r.Entry.Tx != r.Tx || !r.Entry.follows(r.Federation, r.Base, r.Chain) {
		return refuse(Fork, "this is no decision of federation %s after epoch %d that %s may tell", r.Federation, r.Base, r.From.DC)
	}
	return nil
}

// join makes a candidate a member. One whose invitation is over is invited
// again first, as if it had been asked, and becomes a member by the next
// delivery.
func (s *Site) join(req Request) (again bool, err error) {
	if req.To.UUID != s.self.UUID || s.self.State != Standalone {
		return false, refuse(Elsewhere, "%s went elsewhere", s.self.DC)
	}
	byMember := slices.ContainsFunc(req.Entry.Members, req.From.is)
	if err := req.tells(byMember && req.Entry.Proposal.adds(s.self.Peer)); err != nil {
		return false, err
	}
	if err := s.isFree(req.Tx); err != nil {
		return false, err
	}
	if err := s.isEmpty(req.GIPs); err != nil {
		return false, refuse(Elsewhere, "%s", err.Error())
	}
	if err := s.admitsAll(req.GIPs); err != nil {
		return false, err
	}
	if !s.reviews(req.Tx) {
		s.setOverlay(Invited, req)
		return true, nil
	}
	for port, g := range req.GIPs {
		if err := s.takeGIP(port, g); err != nil {
			return false, err
		}
	}
	return false, s.adopt(req.Entry)
}

// outcome tells what became of a transaction that was based on an epoch.
func (s *Site) outcome(req Request) Outcome {
	if e, ok := s.log.get(req.Base + 1); ok && s.self.Federation == req.Federation {
		if e.Tx == req.Tx {
			return Committed
		}
		return Aborted
	}
	switch {
	case s.reviews(req.Tx) && s.overlay.Coordinator == s.self.DC:
		return Pending
	case req.Coordinator == s.self.DC:
		return Aborted
	}
	return Unknown
}

// evictedAt tells a site that is not a member any more at which epoch the
// others went on without it. A site that knows less than the one that asks says
// nothing.
func (s *Site) evictedAt(req Request) int {
	if s.self.Federation != req.Federation || s.self.Evicted > 0 || s.self.Epoch < req.Base {
		return 0
	}
	if m, ok := s.self.member(req.From.DC); ok && m.is(req.From) {
		return 0
	}
	for epoch := max(req.Base, 1); epoch < s.self.Epoch; epoch++ {
		if e, ok := s.log.get(epoch); ok && e.Proposal.Kind == Evict && slices.ContainsFunc(e.Proposal.Peers, req.From.is) {
			return epoch
		}
	}
	return s.self.Epoch
}
