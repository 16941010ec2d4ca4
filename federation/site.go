package federation

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// Site is one site's records as a step of the protocol finds and leaves them.
// Every function of the protocol works on a Site and does nothing else: a Store
// makes the step one transaction. A step that returns an error leaves nothing.
type Site struct {
	self        Self
	selfChanged bool
	overlay     *Overlay
	// overlayChanged: overlay is new, or is gone if it is nil.
	overlayChanged bool

	log    shelf[int, Entry]
	outbox shelf[LetterID, Letter]
	gips   shelf[int, GIP]
	holds  shelf[string, Hold]
	local  ports

	// exists reports whether the site has an instance of that id, and pin makes
	// the step rest on it.
	exists func(instance string) bool
	pin    func(instance string)
	// consents reports whether an instance of the site may move to another site
	// now. The step rests on it.
	consents func(instance, site string) bool

	now time.Time
	// ttl is how long an overlay lasts here.
	ttl time.Duration
}

// State is where the site stands now, its overlay included.
func (s *Site) State() State {
	if s.overlay != nil {
		return s.overlay.Kind
	}
	return s.self.State
}

func (s *Site) setSelf(self Self) { s.self, s.selfChanged = self, true }

func (s *Site) setOverlay(kind State, req Request) {
	s.overlay = &Overlay{
		Kind: kind, Tx: req.Tx, Coordinator: req.From.DC, Proposal: req.Proposal, BaseEpoch: req.Base,
		Expires: s.now.Add(max(s.ttl, req.TTL)),
	}
	s.overlayChanged = true
}

func (s *Site) dropOverlay() {
	if s.overlay != nil {
		s.overlay, s.overlayChanged = nil, true
	}
}

// reviews reports whether the site's overlay is of this transaction.
func (s *Site) reviews(tx string) bool { return s.overlay != nil && s.overlay.Tx == tx }

// isFree refuses while the overlay is of another transaction than tx.
func (s *Site) isFree(tx string) error {
	if s.overlay != nil && s.overlay.Tx != tx {
		return s.overlay.busy(s.self.DC, s.now)
	}
	return nil
}

// isMember refuses unless the site takes part in its federation.
func (s *Site) isMember() error {
	switch {
	case s.self.Evicted > 0:
		return refuse(Unable, "%s was evicted at epoch %d: it is frozen until dc reset", s.self.DC, s.self.Evicted)
	case s.self.State != Member:
		return refuse(Unable, "%s is %s", s.self.DC, s.self.State)
	}
	return nil
}

// isEmpty refuses a site that holds anything of a federation, but for global
// ports that are in known: a join that was cut short has left them.
func (s *Site) isEmpty(known map[int]GIP) error {
	gips := 0
	for port, g := range s.gips.all() {
		if k, ok := known[port]; !ok || k != g {
			gips++
		}
	}
	if len(s.self.Members) > 0 || gips > 0 {
		return refuse(Unable, "%s is not empty: %d dc and %d gip objects", s.self.DC, len(s.self.Members), gips)
	}
	return nil
}

// gipOf returns the global port of an instance, 0 if it has none.
func (s *Site) gipOf(instance string) (int, GIP) {
	for port, g := range s.gips.all() {
		if g.Instance == instance {
			return port, g
		}
	}
	return 0, GIP{}
}

// homed returns the global ports whose home is one of the sites.
func (s *Site) homed(dcs ...string) []int {
	var out []int
	for port, g := range s.gips.all() {
		if slices.Contains(dcs, g.Home) {
			out = append(out, port)
		}
	}
	return out
}

// adopt makes the site follow a decision: it belongs to the epoch from now on.
func (s *Site) adopt(e Entry) error {
	if err := s.follow(e.Proposal); err != nil {
		return err
	}
	s.log.put(e.Epoch, e)
	self := s.self
	self.Federation, self.Epoch, self.Chain, self.Members = e.Federation, e.Epoch, e.Chain, e.Members
	self.State = Member
	s.setSelf(self)
	s.dropOverlay()
	s.settle(e)
	s.dropLettersOfGone()
	return nil
}

// follow changes the global ports as a decision says.
func (s *Site) follow(p Proposal) error {
	switch p.Kind {
	case Reserve:
		return s.takeGIP(p.Port, GIP{Instance: p.Instance, Home: p.Home})
	case Move:
		s.rehome(p)
	case Release:
		s.dropGIP(p.Port)
	case Leave, Evict:
		if !p.Drop {
			return nil
		}
		for _, port := range s.homed(p.names()...) {
			s.dropGIP(port)
		}
	}
	return nil
}

// settle drops the holds whose outcome a decision tells: its own, and those of
// the same epoch or an earlier one, which have lost to it.
func (s *Site) settle(e Entry) {
	for tx, h := range s.holds.all() {
		if h.BaseEpoch < e.Epoch {
			s.dropHold(tx, h)
		}
	}
}

// dropLettersOfGone forgets letters to sites that are not members any more.
func (s *Site) dropLettersOfGone() {
	for id, l := range s.outbox.all() {
		if m, ok := s.self.member(id.DC); !ok || !m.is(l.To) {
			s.outbox.remove(id)
		}
	}
}

// after returns the federation's members once the proposal is decided.
func after(self Self, p Proposal) []Peer {
	switch p.Kind {
	case Add:
		return append(slices.Clone(self.Members), p.Peers...)
	case Leave, Evict:
		return self.others(p.names()...)
	}
	return self.Members
}

// Permit returns why the site may make no change to ports now, or nil.
func permit(self Self, overlay *Overlay, now time.Time) error {
	const words = "port changes are refused while in %s (%s)"
	switch {
	case self.Evicted > 0:
		return refuse(Unable, "port changes are refused: %s was evicted at epoch %d, see dc reset", self.DC, self.Evicted)
	case overlay != nil && overlay.Kind == Invited:
		return refuse(Busy, words, Invited, cmp.Or(overlay.Coordinator, "?")+", "+overlay.expires(now))
	case overlay != nil:
		return refuse(Busy, words, Review, overlay.Proposal.subject()+", "+overlay.expires(now))
	case self.State == Leaving:
		return refuse(Busy, words, Leaving, fmt.Sprintf("%d sites are told", len(self.Members)))
	}
	return nil
}

// ports are the public ports of one site, and who has them.
type ports struct {
	span    state.Ports
	next    int
	moved   bool
	holders shelf[int, string]
	// allocated is the port of each instance.
	allocated shelf[string, int]
}

// free returns the lowest port that nobody has, at or above from, and above all
// that the site has ever handed out unless reuse allows those; 0: none.
func (p *ports) free(from int, reuse bool) int {
	from = max(from, p.span.First)
	if !reuse {
		from = max(from, p.next)
	}
	for port := from; port <= p.span.Last; port++ {
		if _, taken := p.holders.get(port); !taken {
			return port
		}
	}
	return 0
}

// snapshot returns the ports as they are, for use when the step is over.
func (p *ports) snapshot() ports {
	taken := map[int]string{}
	for port := p.span.First; port <= p.span.Last; port++ {
		if holder, ok := p.holders.get(port); ok {
			taken[port] = holder
		}
	}
	return ports{span: p.span, next: p.next, holders: shelf[int, string]{find: func(port int) (string, bool) {
		holder, ok := taken[port]
		return holder, ok
	}}}
}

// take notes who has a port. The site hands out none below it any more.
func (p *ports) take(port int, holder string) {
	p.holders.put(port, holder)
	if port >= p.next {
		p.next, p.moved = port+1, true
	}
}
