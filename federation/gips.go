package federation

// holderPrefix marks a public port that is global or held to become so: the
// site's own allocation passes it by.
const holderPrefix = "global: "

func holderOf(instance string) string { return holderPrefix + instance }

// takeGIP notes a global port. Its home gives it to the instance at once.
func (s *Site) takeGIP(port int, g GIP) error {
	if err := s.admits(port, g); err != nil {
		return err
	}
	s.gips.put(port, g)
	s.local.take(port, holderOf(g.Instance))
	if g.Home == s.self.DC {
		s.local.allocated.put(g.Instance, port)
	}
	return nil
}

// rehome notes that the instance of a global port is at another site. There the
// port is its allocation from now on; the old home keeps its own, to forward by.
func (s *Site) rehome(p Proposal) {
	s.gips.put(p.Port, GIP{Instance: p.Instance, Home: p.Home})
	if p.Home == s.self.DC {
		s.local.allocated.put(p.Instance, p.Port)
	}
}

// admits refuses a global port that is somebody else's at this site.
func (s *Site) admits(port int, g GIP) error {
	holder, taken := s.local.holders.get(port)
	if taken && holder != holderOf(g.Instance) && holder != g.Instance {
		return refuse(Elsewhere, "%s uses port %d, which is global for instance %s", s.self.DC, port, g.Instance)
	}
	return nil
}

// admitsAll refuses if any of the global ports is somebody else's here.
func (s *Site) admitsAll(gips map[int]GIP) error {
	for port, g := range gips {
		if err := s.admits(port, g); err != nil {
			return err
		}
	}
	return nil
}

// dropGIP forgets a global port. If its instance is here it keeps the port as
// this site's own.
func (s *Site) dropGIP(port int) {
	g, ok := s.gips.get(port)
	if !ok {
		return
	}
	s.gips.remove(port)
	if own, ok := s.local.allocated.get(g.Instance); ok && own == port && s.exists(g.Instance) {
		s.local.holders.put(port, g.Instance)
		return
	} else if ok && own == port {
		s.local.allocated.remove(g.Instance)
	}
	s.vacate(port, g.Instance)
}

// hold keeps a port for a transaction, in place of another that was held for it.
func (s *Site) hold(tx string, h Hold) {
	if old, ok := s.holds.get(tx); ok && old.Port != h.Port {
		s.vacate(old.Port, old.Instance)
	}
	s.holds.put(tx, h)
	s.local.take(h.Port, holderOf(h.Instance))
}

// dropHold ends a hold. Its port falls free unless it has become global.
func (s *Site) dropHold(tx string, h Hold) {
	s.holds.remove(tx)
	if g, ok := s.gips.get(h.Port); !ok || g.Instance != h.Instance {
		s.vacate(h.Port, h.Instance)
	}
}

// vacate frees a port that was global, or held, for the instance.
func (s *Site) vacate(port int, instance string) {
	if holder, ok := s.local.holders.get(port); ok && holder == holderOf(instance) {
		s.local.holders.remove(port)
	}
}
