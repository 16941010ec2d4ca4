package federation

import "slices"

// prepare agrees to a proposal, or refuses it. For a port to be reserved it
// returns which one could be held.
func (s *Site) prepare(req Request) (int, error) {
	if req.Candidate {
		return 0, s.invite(req)
	}
	if err := s.review(req); err != nil {
		return 0, err
	}
	port := 0
	if req.Proposal.Kind == Reserve {
		var err error
		if port, err = s.offer(req); err != nil {
			return 0, err
		}
	}
	if req.Proposal.Kind == Evict {
		s.holds.put(req.Tx, Hold{Coordinator: req.From, BaseEpoch: req.Base, Against: req.Proposal.Peers})
	}
	if !s.reviews(req.Tx) {
		s.setOverlay(Review, req)
	}
	return port, nil
}

// invite makes a standalone site, which holds nothing of a federation, a
// candidate.
func (s *Site) invite(req Request) error {
	switch {
	case req.From.DC == s.self.DC:
		return refuse(Unable, "%s is this datacenter", s.self.DC)
	case req.To.DC != s.self.DC:
		return refuse(Unable, "the site at %s is %s, not %s", req.To.Address, s.self.DC, req.To.DC)
	case s.self.State == Member && s.self.Evicted == 0:
		return refuse(Unable, "%s is already a member of federation %s", s.self.DC, s.self.Federation)
	case s.self.State == Leaving:
		return refuse(Unable, "%s is leaving", s.self.DC)
	}
	if err := s.isFree(req.Tx); err != nil {
		return err
	}
	if err := s.isEmpty(nil); err != nil {
		return err
	}
	if err := s.admitsAll(req.GIPs); err != nil {
		return err
	}
	if !s.reviews(req.Tx) {
		s.setOverlay(Invited, req)
	}
	return nil
}

// review checks whether a member can agree to a proposal.
func (s *Site) review(req Request) error {
	if err := s.isMember(); err != nil {
		return err
	}
	if err := s.isFree(req.Tx); err != nil {
		return err
	}
	if err := s.atSamePoint(req); err != nil {
		return err
	}
	if from, ok := s.self.member(req.From.DC); !ok || !from.is(req.From) {
		return refuse(Fork, "%s is not a member of federation %s", req.From.DC, s.self.Federation)
	}
	if err := s.isHeard(req.From.DC); err != nil {
		return err
	}
	return s.sound(req.Proposal, req.From.DC)
}

// isHeard refuses a coordinator that this site has agreed to evict.
func (s *Site) isHeard(coordinator string) error {
	for _, h := range s.holds.all() {
		if slices.ContainsFunc(h.Against, func(p Peer) bool { return p.DC == coordinator }) {
			return refuse(Busy, "%s has agreed at epoch %d to evict %s, for %s", s.self.DC, h.BaseEpoch, coordinator, h.Coordinator.DC)
		}
	}
	return nil
}

// atSamePoint refuses a request that is based on another point of the history,
// or on another history.
func (s *Site) atSamePoint(req Request) error {
	switch {
	case req.Federation != s.self.Federation:
		return refuse(Fork, "%s is a member of federation %s, request is for %s", s.self.DC, s.self.Federation, req.Federation)
	case req.Base != s.self.Epoch:
		return refuse(Behind, "%s is at epoch %d, request is for %d", s.self.DC, s.self.Epoch, req.Base)
	case req.Chain != s.self.Chain:
		return refuse(Fork, "%s has another history at epoch %d", s.self.DC, s.self.Epoch)
	}
	return nil
}

// sound checks a proposal against what the members agree on already.
func (s *Site) sound(p Proposal, coordinator string) error {
	port, gip := s.gipOf(p.Instance)
	switch p.Kind {
	case Add:
		if _, known := s.self.member(p.subject()); known {
			return refuse(Unable, "%s is already a member of federation %s", p.subject(), s.self.Federation)
		}
	case Leave, Evict:
		return s.soundExit(p, coordinator)
	case Reserve:
		if port != 0 {
			return refuse(Unable, "instance %s has the global port %d already", p.Instance, port)
		}
	case Release, Move:
		if port == 0 || port != p.Port || gip.Home != coordinator {
			return refuse(Unable, "%s is not the home of a global port of instance %s", coordinator, p.Instance)
		}
		if _, ok := s.self.member(p.Home); p.Kind == Move && !ok {
			return refuse(Unable, "%s is not a member of federation %s", p.Home, s.self.Federation)
		}
	default:
		return refuse(Unable, "no such proposal: %q", p.Kind)
	}
	return nil
}

// soundExit checks a proposal by which sites go.
func (s *Site) soundExit(p Proposal, coordinator string) error {
	for _, peer := range p.Peers {
		if known, ok := s.self.member(peer.DC); !ok || !known.is(peer) {
			return refuse(Unable, "%s is not a member of federation %s", peer.DC, s.self.Federation)
		}
		if (p.Kind == Leave) != (peer.DC == coordinator) {
			return refuse(Unable, "a site leaves by itself and is evicted by others")
		}
	}
	if err := s.keepsWord(p); err != nil {
		return err
	}
	if homed := s.homed(coordinator); p.Kind == Leave && !p.Drop && len(homed) > 0 {
		return refuse(Unable, "%s is home to %d global ports: move them, or leave with --release", coordinator, len(homed))
	}
	return nil
}

// keepsWord refuses to evict a site for which this one has agreed to evict
// another, and does not know what came of it: unless both go, each might go by
// the other's decision.
func (s *Site) keepsWord(p Proposal) error {
	goes := func(dc string) bool { return slices.Contains(p.names(), dc) }
	for _, h := range s.holds.all() {
		for _, other := range h.Against {
			if p.Kind == Evict && goes(h.Coordinator.DC) && !goes(other.DC) {
				return refuse(Unable, "%s has agreed at epoch %d to evict %s, for %s: wait until that answers, or evict both",
					s.self.DC, h.BaseEpoch, other.DC, h.Coordinator.DC)
			}
		}
	}
	return nil
}

// offer holds the proposed port if it is free here. It returns the lowest port,
// from the proposed one upwards, that is; 0: none.
func (s *Site) offer(req Request) (int, error) {
	p := req.Proposal
	held, ok := s.holds.get(req.Tx)
	if ok && held.Try > req.Try {
		return 0, refuse(Busy, "the coordinator proposes another port by now")
	}
	if ok && held.Port == p.Port {
		return p.Port, nil
	}
	port := s.local.free(p.Port, req.Reuse)
	if port == p.Port {
		s.hold(req.Tx, Hold{Port: port, Instance: p.Instance, Coordinator: req.From, BaseEpoch: req.Base, Try: req.Try})
	}
	return port, nil
}

// abort ends what a transaction has begun here.
func (s *Site) abort(req Request) {
	if s.reviews(req.Tx) && s.overlay.Coordinator == req.From.DC {
		s.dropOverlay()
	}
	if h, ok := s.holds.get(req.Tx); ok && h.Coordinator.DC == req.From.DC {
		s.dropHold(req.Tx, h)
	}
}
