package federation

import (
	"maps"
	"slices"
)

// operate is an operator, or a user who wants a global port.
func (w *world) operate(m *modelSite) {
	if m.down || m.round != nil {
		return
	}
	other := w.sites[w.rng.IntN(len(w.sites))]
	if w.grim && w.chance(35) {
		w.evict(m)
		return
	}
	switch n := w.rng.IntN(100); {
	case n < 30:
		w.begin(m, Proposal{Kind: Add, Peers: []Peer{{DC: other.name, Address: other.name + ":1"}}})
	case n < 60:
		w.begin(m, Proposal{Kind: Reserve, Instance: w.fresh("gi")})
	case n < 67:
		w.begin(m, Proposal{Kind: Leave, Drop: w.chance(50)})
	case n < 77:
		w.evict(m)
	case n < 87:
		w.release(m)
	case n < 94:
		w.move(m, other)
	default:
		if m.self.Evicted > 0 || len(m.gips) > 0 {
			_ = w.do(m, "reset", func(s *Site) error { return s.Reset(w.fresh(m.name)) })
		}
	}
}

// evict gives up on all sites that are down. Nobody does so whom others have
// given up on: that is what dc evict asks to make sure of.
func (w *world) evict(m *modelSite) {
	var dead []Peer
	for _, other := range w.sites {
		if _, ok := m.self.member(other.name); ok && other.down && w.chance(70) {
			dead = append(dead, Peer{DC: other.name})
		}
	}
	if len(dead) > 0 && !w.check.givenUp[m.self.UUID] {
		w.begin(m, Proposal{Kind: Evict, Peers: dead, Drop: w.chance(50)})
		if m.round != nil {
			for _, p := range m.round.proposal.Peers {
				w.check.givenUp[p.UUID] = true
			}
		}
	}
}

func (w *world) release(m *modelSite) {
	for _, port := range slices.Sorted(maps.Keys(m.gips)) {
		if g := m.gips[port]; g.Home == m.name {
			w.begin(m, Proposal{Kind: Release, Instance: g.Instance})
			return
		}
	}
}

func (w *world) move(m, to *modelSite) {
	for _, port := range slices.Sorted(maps.Keys(m.gips)) {
		if g := m.gips[port]; g.Home == m.name {
			m.ready[g.Instance] = to.name
			w.begin(m, Proposal{Kind: Move, Instance: g.Instance, Home: to.name})
			return
		}
	}
}

// local is what the site's own broker does: make instances with ports, global
// ones among them, and delete them.
func (w *world) local(m *modelSite) {
	if m.down {
		return
	}
	clear(m.ready) // moves that are not decided are taken back
	if running := slices.Sorted(maps.Keys(m.running)); len(running) > 0 && w.chance(40) {
		w.deprovision(m, running[w.rng.IntN(len(running))])
		return
	}
	s := m.open(w.now)
	if permit(s.self, s.overlay, s.now) != nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(m.allocated)) {
		if m.running[id] == 0 {
			m.running[id] = m.allocated[id]
			w.tell("%s: global instance %s at %d", m.name, id, m.running[id])
			return
		}
	}
	port := s.local.free(0, false)
	if port == 0 {
		port = s.local.free(0, true)
	}
	if port != 0 {
		id := w.fresh("li")
		m.ports[port], m.allocated[id], m.running[id] = id, port, port
		m.next = max(m.next, port+1)
		w.tell("%s: instance %s at %d", m.name, id, port)
	}
}

// deprovision does what state.Ports.Release does, in every state.
func (w *world) deprovision(m *modelSite, id string) {
	port := m.allocated[id]
	delete(m.running, id)
	delete(m.allocated, id)
	if m.ports[port] == id {
		delete(m.ports, port)
	}
	w.tell("%s: instance %s is deleted", m.name, id)
	if m.open(w.now).State() == Invited {
		w.check.invited[m.name] = m.image()
	}
}
