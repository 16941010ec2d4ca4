package router

import "time"

// turnBack refuses a client that has come while the circuit is broken. It counts
// for the router, which has files for it, and not for its instance.
func (p *plane) turnBack(s *session) {
	counted := below(&p.limits.open, p.limits.inUserSpace())
	p.conns.Go(func() {
		defer s.loop.load.Add(-1)
		if counted {
			defer p.limits.open.Add(-1)
		}
		p.refuse(s, p.breaker.refusal(counted))
	})
}

// heed has the breaker's state hold in what is routed already. Sessions stay for
// the grace, which begins with each break.
func (p *plane) heed(grace *time.Timer) {
	breaks := p.breaker.breaks.Load() // before isOn: a break that comes now is news once more
	broken := p.breaker.isOn()
	p.eachRoute(func(r *route) { r.heed(broken) })
	switch {
	case !broken:
		grace.Stop()
		p.cleared = false
	case breaks != p.breaks:
		grace.Reset(p.cfg.BreakGrace)
		p.cleared = false
	}
	p.breaks = breaks
}

// clear cuts all sessions when the grace is over, unless there has been another
// break that is not heeded yet.
func (p *plane) clear() {
	if p.breaker.isOn() && p.breaker.breaks.Load() == p.breaks {
		p.cleared = true
		p.eachRoute((*route).expel)
	}
}

// eachRoute calls do with every route, those to replicas among them.
func (p *plane) eachRoute(do func(*route)) {
	for _, r := range p.routes {
		do(r)
	}
	for _, d := range p.readings {
		d.eachRoute(do)
	}
}

// heed takes in that the circuit is broken, or is not any more. While it is, the
// kernel leads nobody, and who has not joined yet is turned away.
func (r *route) heed(broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
	case broken:
		r.lane.hold()
		r.interrupt()
	case r.reign.isReady():
		if addr, ok := r.reign.leader.kernelAddr(); ok {
			r.lane.offer(addr)
		}
	}
}

// interrupt has every session that is just joining look elsewhere. It is called
// under mu.
func (r *route) interrupt() {
	for l, some := range r.byLoop() {
		l.post(func() {
			for _, s := range some {
				s.interrupt()
			}
		})
	}
}

// expel cuts every session, whoever leads.
func (r *route) expel() {
	r.mu.Lock()
	cut := r.dismissAll()
	r.cutLane()
	r.mu.Unlock()
	r.cut(cut, leader{})
}

// interrupt ends an attempt to join.
func (s *session) interrupt() {
	if s.phase == joining {
		s.hangUp()
		s.plane.hold(s)
	}
}
