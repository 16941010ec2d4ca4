package federation

import (
	"fmt"
	"maps"
	"slices"
)

// edges are the changes of state that are allowed, and no others. Member to
// standalone is dc reset of an evicted site.
var edges = map[[2]State]bool{
	{Standalone, Invited}: true, {Invited, Member}: true, {Invited, Standalone}: true,
	{Standalone, Review}: true, {Review, Standalone}: true, {Review, Member}: true, {Member, Review}: true,
	{Review, Leaving}: true, {Leaving, Standalone}: true,
}

// point is an epoch of a federation.
type point struct {
	federation string
	epoch      int
}

// checker watches a world: what must hold after every step, and at the end.
type checker struct {
	w        *world
	problems []string
	// decided has every entry by epoch: more than one only where a site was
	// given up that had decided and told nobody.
	decided map[point][]Entry
	// gips are the global ports after each entry, by chain.
	gips map[string]map[int]GIP
	// invited is what candidates held when they were invited.
	invited map[string]image
	givenUp map[string]bool
}

func newChecker(w *world) *checker {
	return &checker{
		w: w, decided: map[point][]Entry{}, gips: map[string]map[int]GIP{"": {}},
		invited: map[string]image{}, givenUp: map[string]bool{},
	}
}

func (c *checker) failed() bool { return len(c.problems) > 0 }

func (c *checker) fail(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
	c.w.tell("WRONG: "+format, args...)
}

// step checks the site at which something has happened.
func (c *checker) step(m *modelSite, before State, what string) {
	after := m.open(c.w.now).State()
	if before != after && !edges[[2]State{before, after}] && what != "reset" {
		c.fail("%s: %s: went from %s to %s", m.name, what, before, after)
	}
	c.candidate(m, before, after)
	if e, ok := m.log[m.self.Epoch]; ok {
		c.entry(m, e)
	} else if m.self.Epoch > 0 {
		c.fail("%s: epoch %d is not in its log", m.name, m.self.Epoch)
	}
	c.routes(m)
}

// candidate checks that a candidate that does not become a member is what it was.
func (c *checker) candidate(m *modelSite, before, after State) {
	switch {
	case before != Invited && after == Invited:
		c.invited[m.name] = m.image()
	case before == Invited && after == Standalone && m.image() != c.invited[m.name]:
		c.fail("%s: was %+v when invited and is %+v", m.name, c.invited[m.name], m.image())
	}
}

// entry checks a site against the decision that it follows.
func (c *checker) entry(m *modelSite, e Entry) {
	at := point{e.Federation, e.Epoch}
	if !slices.ContainsFunc(c.decided[at], func(o Entry) bool { return o.Chain == e.Chain }) {
		c.decide(m, at, e)
	}
	if len(c.decided[at]) > 1 {
		c.branches(at)
	}
	if m.self.Chain != e.Chain || !slices.Equal(m.self.Members, e.Members) {
		c.fail("%s: is not as epoch %d says", m.name, e.Epoch)
	}
	if m.self.State == Member && !maps.Equal(m.gips, c.gips[e.Chain]) {
		c.fail("%s: has the global ports %v at epoch %d, want %v", m.name, m.gips, e.Epoch, c.gips[e.Chain])
	}
	for port, g := range m.gips {
		if m.ports[port] != holderOf(g.Instance) {
			c.fail("%s: global port %d of %s is held by %q", m.name, port, g.Instance, m.ports[port])
		}
	}
}

// decide takes a new decision in: it continues the chain, and is the only one
// at its epoch, unless one of two gives up whoever made the other.
func (c *checker) decide(m *modelSite, at point, e Entry) {
	for _, o := range c.decided[at] {
		if !gives(e, o) && !gives(o, e) {
			c.fail("%s: two decisions at epoch %d: %+v and %+v", m.name, e.Epoch, o.Proposal, e.Proposal)
		}
	}
	c.decided[at] = append(c.decided[at], e)
	before, ok := c.gips[e.Prev]
	if !ok {
		c.fail("%s: decision of epoch %d follows none that is known", m.name, e.Epoch)
	}
	c.gips[e.Chain] = fold(before, e.Proposal)
	switch p := e.Proposal; {
	case p.Kind == Reserve:
		c.reserved(m, e, before)
	case p.Kind == Move && m.ready[p.Instance] != p.Home:
		c.fail("%s: instance %s moves to %s, and was taken back", m.name, p.Instance, p.Home)
	case p.Kind == Release && m.running[p.Instance] != 0:
		c.fail("%s: the port of instance %s was given back, and it exists", m.name, p.Instance)
	}
}

// branches checks that what a site decided that was given up is followed by
// nobody but those that were given up with it, and whom it added.
func (c *checker) branches(at point) {
	for _, dead := range c.decided[at] {
		i := slices.IndexFunc(c.decided[at], func(e Entry) bool { return gives(e, dead) })
		if i < 0 {
			continue
		}
		gone := c.decided[at][i].Proposal.names()
		for _, m := range c.w.sites {
			if m.self.Chain == dead.Chain && !slices.Contains(gone, m.name) && !dead.Proposal.adds(m.self.Peer) {
				c.fail("%s: follows %s, which was given up at epoch %d", m.name, dead.Coordinator, at.epoch)
			}
		}
	}
}

func gives(e, up Entry) bool {
	return e.Proposal.Kind == Evict && slices.Contains(e.Proposal.names(), up.Coordinator)
}

// reserved checks that nobody else has, or can get, a port that has just become
// global.
func (c *checker) reserved(m *modelSite, e Entry, before map[int]GIP) {
	if g, taken := before[e.Proposal.Port]; taken {
		c.fail("global port %d of %s was given to %s, too", e.Proposal.Port, g.Instance, e.Proposal.Instance)
	}
	for _, g := range before {
		if g.Instance == e.Proposal.Instance {
			c.fail("instance %s got a second global port", g.Instance)
		}
	}
	for _, p := range e.Members {
		other := c.w.site(p.DC)
		if other.self.UUID == p.UUID && other.self.Evicted == 0 && other.ports[e.Proposal.Port] != holderOf(e.Proposal.Instance) {
			c.fail("%s: global port %d was decided on and is held by %q", other.name, e.Proposal.Port, other.ports[e.Proposal.Port])
		}
	}
}

// fold returns the global ports after a decision, independently of the code
// that is checked.
func fold(before map[int]GIP, p Proposal) map[int]GIP {
	out := maps.Clone(before)
	switch p.Kind {
	case Reserve, Move:
		out[p.Port] = GIP{p.Instance, p.Home}
	case Release:
		delete(out, p.Port)
	case Leave, Evict:
		maps.DeleteFunc(out, func(_ int, g GIP) bool { return p.Drop && slices.Contains(p.names(), g.Home) })
	}
	return out
}

// routes checks that the ports of instances are what they were, in every state.
func (c *checker) routes(m *modelSite) {
	for id, port := range m.running {
		if m.allocated[id] != port || m.ports[port] != id && m.ports[port] != holderOf(id) {
			c.fail("%s: instance %s had port %d, now %d, held by %q", m.name, id, port, m.allocated[id], m.ports[port])
		}
	}
}

// atRest reports whether nothing is under way.
func (c *checker) atRest() bool {
	for _, m := range c.w.sites {
		if m.overlay != nil || m.round != nil || len(m.outbox) > 0 || len(m.holds) > 0 || m.self.State == Leaving {
			return false
		}
	}
	return true
}

// decisions returns how many there were.
func (c *checker) decisions() (n int) {
	for _, entries := range c.decided {
		n += len(entries)
	}
	return n
}

// leftAlone reports whether nobody is left of a site's federation: who would
// tell it that it was evicted?
func (c *checker) leftAlone(m *modelSite) bool {
	return !slices.ContainsFunc(m.self.others(m.name), func(p Peer) bool {
		other := c.w.site(p.DC).self
		return other.Federation == m.self.Federation && other.State == Member && other.Evicted == 0 && !c.givenUp[other.UUID]
	})
}

// rest checks what has to be so when faults have stopped and leases ended.
func (c *checker) rest() {
	for _, m := range c.w.sites {
		if m.overlay != nil || len(m.outbox) > 0 || len(m.holds) > 0 || m.self.State == Leaving {
			c.fail("%s: is not at rest: overlay %+v, outbox %+v, holds %+v, %s", m.name, m.overlay, m.outbox, m.holds, m.self.State)
		}
		if m.self.State != Member || m.self.Evicted > 0 || c.givenUp[m.self.UUID] && c.leftAlone(m) {
			continue
		}
		for _, p := range m.self.others(m.name) {
			other := c.w.site(p.DC)
			if other.self.UUID != p.UUID || other.self.Evicted > 0 || other.self.Chain != m.self.Chain {
				c.fail("%s: at epoch %d of %s; its member %s is %+v", m.name, m.self.Epoch, m.self.Federation, p.DC, other.self)
			}
		}
	}
}
