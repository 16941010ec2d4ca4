package router

import "time"

// arrive takes in a client that has come to a loop. The shortest way of a
// session is from here to join, without a wait.
func (p *plane) arrive(near *loop, at *port, client int) {
	s := newSession(p, at.route, p.loops.choose(near), client)
	s.reading = at.reading
	s.loop.load.Add(1)
	if p.breaker.isOn() {
		p.turnBack(s)
		return
	}
	if full := p.limits.take(s.home); full != "" {
		p.conns.Go(func() { p.tooMany(s, full) })
		return
	}
	p.metrics.waiting.Inc()
	if s.reading != nil {
		s.reading.place(s)
		return
	}
	s.home.suspect()
	p.lead(s, near)
}

// lead has a session join the leader of its instance, now if it takes writes.
// near is the loop that calls, if one does.
func (p *plane) lead(s *session, near *loop) {
	g := s.route.current()
	switch {
	case !g.isReady():
		p.hold(s)
	case s.loop == near:
		s.join(g)
	case !s.loop.post(func() { s.join(g) }):
		p.hold(s) // which sees that the plane ends
	}
}

// tooMany refuses a session that is one too many.
func (p *plane) tooMany(s *session, full string) {
	defer s.loop.load.Add(-1)
	message := "too many connections to database {database}: instance {instance} has as many as it may have"
	if full == "router" {
		message = "too many connections to database {database} of instance {instance}: the router has as many as it may have"
	}
	p.refuse(s, refusal{reason: full + "_full", code: codeTooMany, message: message, cancels: true})
}

// joined is called when a session has its leader.
func (p *plane) joined(s *session) {
	p.metrics.waiting.Dec()
	p.metrics.holdSeconds.Observe(time.Since(s.arrived).Seconds())
	p.release(s)
}

// left is called when a session is over.
func (p *plane) left(s *session) {
	p.release(s)
	p.limits.give(s.home)
	s.loop.load.Add(-1)
}

// release counts a session as one that does not wait any more.
func (p *plane) release(s *session) {
	if s.held {
		s.held = false
		p.limits.unhold(s.home)
	}
}
