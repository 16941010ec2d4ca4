package federation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxTries is how many ports are proposed for one reservation.
const maxTries = 16

// Round is a transaction at its coordinator, from its beginning to its
// decision. It lives in memory: a coordinator that dies takes its undecided
// round with it, and every overlay of it passes.
//
// Begin starts it. Requests are what has to be sent, again and again until
// every one is answered; Answer takes the answers. When Ready, Decide makes it
// a decision. If it fails, Abandon ends it, and Aborts are sent once.
type Round struct {
	tx       string
	base     Self
	proposal Proposal
	ttl      time.Duration
	gips     map[int]GIP

	// candidate is asked first, then the voters. missing have not answered the
	// present try; asked may have been reached by a request.
	candidate *Peer
	voters    []Peer
	missing   map[string]bool
	asked     map[string]Peer
	try       int
	reuse     bool
	offers    []int
	// local are the coordinator's own ports, which stay as they are meanwhile.
	local   ports
	failure error
}

// Begin makes the site the coordinator of a transaction: it is in review itself
// from now on.
func (s *Site) Begin(tx string, p Proposal) (*Round, error) {
	if err := s.isFree(tx); err != nil {
		return nil, err
	}
	if err := s.canPropose(&p); err != nil {
		return nil, err
	}
	r := &Round{tx: tx, base: s.self, proposal: p, ttl: s.ttl, missing: map[string]bool{}, asked: map[string]Peer{}}
	r.voters = s.self.others(s.self.DC)
	switch p.Kind {
	case Add:
		r.proposal.Peers = slices.Clone(p.Peers)
		r.candidate = &r.proposal.Peers[0]
		r.gips = maps.Collect(s.gips.all())
	case Evict:
		r.voters = s.self.others(append(p.names(), s.self.DC)...)
	case Reserve:
		r.local = s.local.snapshot()
		if r.proposal.Port = r.local.free(0, false); r.proposal.Port == 0 {
			r.startOver()
		}
		if r.failure != nil {
			return nil, r.failure
		}
	}
	r.askAll()
	s.setOverlay(Review, Request{Tx: tx, From: s.self.Peer, Proposal: r.proposal, Base: s.self.Epoch})
	return r, nil
}

// canPropose checks a proposal of this site's own, and fills in what the site
// knows and whoever asks does not.
func (s *Site) canPropose(p *Proposal) error {
	if p.Kind == Add {
		if len(p.Peers) != 1 {
			return refuse(Unable, "one site is added at a time")
		}
		if p.Peers[0].DC == s.self.DC {
			return refuse(Unable, "%s is this datacenter", s.self.DC)
		}
		if s.self.State == Standalone && s.self.Evicted == 0 {
			return s.isEmpty(nil)
		}
	}
	if err := s.isMember(); err != nil {
		return err
	}
	switch p.Kind {
	case Leave:
		p.Peers = []Peer{s.self.Peer}
	case Evict:
		if slices.Contains(p.names(), s.self.DC) {
			return refuse(Unable, "%s is this datacenter: it can leave", s.self.DC)
		}
		s.complete(p)
	case Reserve:
		p.Home = s.self.DC
		if port, ok := s.local.allocated.get(p.Instance); ok {
			return refuse(Unable, "instance %s has the port %d already", p.Instance, port)
		}
	case Release, Move:
		p.Port, _ = s.gipOf(p.Instance)
	}
	return s.sound(*p, s.self.DC)
}

// complete fills in what the site knows of the members that a proposal names.
func (s *Site) complete(p *Proposal) {
	p.Peers = slices.Clone(p.Peers)
	for i, peer := range p.Peers {
		if known, ok := s.self.member(peer.DC); ok {
			p.Peers[i] = known
		}
	}
}

// askAll begins a new try.
func (r *Round) askAll() {
	clear(r.missing)
	r.offers = r.offers[:0]
	if r.candidate != nil {
		r.missing[r.candidate.DC] = true
	}
	for _, v := range r.voters {
		r.missing[v.DC] = true
	}
}

// startOver makes the round look for a port among those that had been in use
// before: the range has been handed out once.
func (r *Round) startOver() {
	r.reuse = true
	r.suggest(r.local.free(0, true))
}

// suggest makes the round propose a port, or fail if it is none.
func (r *Round) suggest(port int) {
	r.proposal.Port = port
	if port == 0 {
		r.failure = refuse(Unable, "no global port is left")
	}
}

// Requests returns what has not been answered: the candidate's first of all.
func (r *Round) Requests() []Request {
	if r.failure != nil {
		return nil
	}
	if c := r.candidate; c != nil && r.missing[c.DC] {
		req := r.request(*c)
		req.Candidate, req.GIPs = true, r.gips
		return []Request{req}
	}
	var out []Request
	for _, v := range r.voters {
		if r.missing[v.DC] {
			out = append(out, r.request(v))
		}
	}
	return out
}

func (r *Round) request(to Peer) Request {
	r.asked[to.DC] = to
	return Request{
		Verb: Prepare, Tx: r.tx, From: r.base.Peer, To: to, TTL: r.ttl,
		Federation: r.base.Federation, Base: r.base.Epoch, Chain: r.base.Chain,
		Proposal: r.proposal, Try: r.try, Reuse: r.reuse,
	}
}

// Answer takes a site's answer to one of the round's requests: a reply, a
// refusal, or an error that says that it could not be reached for good.
func (r *Round) Answer(from string, reply Reply, err error) {
	switch {
	case r.failure != nil || !r.missing[from]:
	case err != nil:
		r.fail(from, err)
	case reply.Try == r.try:
		r.missing[from] = false
		r.count(from, reply)
	}
}

// count notes an agreement, and goes on to another port if somebody could not
// hold this one.
func (r *Round) count(from string, reply Reply) {
	if r.candidate != nil && from == r.candidate.DC {
		r.candidate.UUID = reply.Peer.UUID
	}
	r.offers = append(r.offers, reply.Port)
	if r.proposal.Kind != Reserve || r.waiting() {
		return
	}
	highest := slices.Max(r.offers)
	own := r.local.free(highest, r.reuse)
	switch none := own == 0 || slices.Contains(r.offers, 0); {
	case none && r.reuse:
		r.suggest(0)
	case none:
		r.startOver()
	case own == r.proposal.Port && slices.Min(r.offers) == own:
		return // all hold it
	default:
		r.suggest(own)
	}
	if r.failure != nil {
		return
	}
	if r.try++; r.try == maxTries {
		r.failure = refuse(Busy, "no global port found in %d tries", maxTries)
		return
	}
	r.askAll()
}

func (r *Round) fail(from string, err error) {
	if codeOf(err) != Silent {
		r.failure = err
		return
	}
	text := fmt.Sprintf("cannot reach %s: %v", from, err)
	if c := r.candidate; c != nil {
		text += fmt.Sprintf("; %s reverted to standalone", c.DC)
	}
	r.failure = refuse(Silent, "%s", text)
}

// GiveUp ends the waiting: those who have not answered are silent.
func (r *Round) GiveUp() {
	for _, dc := range slices.Sorted(maps.Keys(r.missing)) {
		if r.missing[dc] && r.failure == nil {
			r.fail(dc, errors.New("no answer in time"))
		}
	}
}

func (r *Round) waiting() bool {
	for _, missing := range r.missing {
		if missing {
			return true
		}
	}
	return false
}

// Ready reports whether everybody has agreed.
func (r *Round) Ready() bool { return r.failure == nil && !r.waiting() }

// Err is why the round has failed, nil while it has not.
func (r *Round) Err() error { return r.failure }

// ErrDecided says that a round can not be abandoned: it was decided.
var ErrDecided = errors.New("the round was decided")

// Abandon ends a round that was not decided: from then on it can not be. It
// returns ErrDecided if it was, although that had not been heard of.
func (s *Site) Abandon(r *Round) error {
	if e, ok := s.log.get(r.base.Epoch + 1); ok && e.Tx == r.tx {
		return ErrDecided
	}
	if s.reviews(r.tx) {
		s.dropOverlay()
	}
	return nil
}

// Aborts tell everybody who may have been asked that nothing comes of it.
func (r *Round) Aborts() []Request {
	var out []Request
	for _, dc := range slices.Sorted(maps.Keys(r.asked)) {
		out = append(out, Request{
			Verb: Abort, Tx: r.tx, From: r.base.Peer, To: r.asked[dc], Federation: r.base.Federation, Base: r.base.Epoch,
			Candidate: r.candidate != nil && r.candidate.DC == dc,
		})
	}
	return out
}

// describe names the round in a log.
func (r *Round) describe() string {
	return strings.TrimSpace(string(r.proposal.Kind) + " " + r.proposal.subject())
}
