package router

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// departureInterval is how often a connection that waits is asked whether its
// client is still there. A client that has ended its side is given that long,
// too: it may have said all it has to say.
const departureInterval = 500 * time.Millisecond

// The reasons for which a connection ends while it waits.
var (
	errHoldOver   = errors.New("no leader in time")
	errHoldFull   = errors.New("too many connections wait for a leader")
	errClientLeft = errors.New("the client left")
	errNoFiles    = errors.New("no more files may be open")
)

// hold lets a session wait until there is a leader that takes writes. It follows
// every change of leader at once. The session belongs to its wait until then.
func (p *plane) hold(s *session) {
	if p.breaker.isOn() {
		p.conns.Go(func() { p.turnAway(s, errBroken) })
		return
	}
	if s.reading != nil {
		s.reading.missed(s)
		return
	}
	if !s.held && !p.limits.hold(s.home) {
		p.conns.Go(func() { p.turnAway(s, errHoldFull) })
		return
	}
	s.held = true
	p.conns.Go(func() {
		if err := p.wait(s); err != nil {
			p.turnAway(s, err)
		}
	})
}

// wait returns nil when the session has been given to its loop, with a leader
// to join.
func (p *plane) wait(s *session) error {
	ctx, cancel := p.patience(s)
	defer cancel()
	if s.failures > 0 {
		if err := p.pause(ctx, s); err != nil {
			return err
		}
	}
	for {
		g := s.route.current()
		err := p.prober.await(ctx, s.route, g)
		switch {
		case err == nil:
			cancel()
			if !s.loop.post(func() { s.join(g) }) {
				return errGone
			}
			return nil
		case !errors.Is(err, errReignOver):
			return err
		}
	}
}

// missed has the leader that could not be reached looked at again, and lets the
// session wait. Where this router has no file left to call it with, the leader is not
// at fault, and another router may do better.
func (p *plane) missed(s *session, err error) {
	if isWantOfFiles(err) {
		p.turnAway(s, errNoFiles)
		return
	}
	g := s.reign
	if g.ctx.Err() == nil {
		p.metrics.dialFailures.Inc()
		s.route.logger().Debug("leader not reached, will retry", "member", g.leader.member, "addr", g.leader.addr, "err", err)
		s.route.doubt(g)
	}
	p.hold(s)
}

// pause waits a little after a failure, unless another leads by then.
func (p *plane) pause(ctx context.Context, s *session) error {
	g := s.route.current()
	if !g.leader.same(s.reign.leader) {
		return nil
	}
	ctx, cancel := joinedContext(ctx, g.ctx)
	defer cancel()
	err := sleep(ctx, backoff(s.failures, 10*time.Millisecond, 200*time.Millisecond))
	if errors.Is(err, errReignOver) {
		return nil
	}
	return err
}

// patience returns a context that ends when the hold is over, the client has
// left, or the circuit is broken.
func (p *plane) patience(s *session) (context.Context, context.CancelFunc) {
	ctx, expire := context.WithDeadlineCause(p.breaker.term(), s.arrived.Add(p.cfg.Hold), errHoldOver)
	ctx, cancel := context.WithCancelCause(ctx)
	// mine guards against asking a socket that belongs to its loop again.
	var mine sync.Mutex
	var check *time.Timer
	check = time.AfterFunc(time.Hour, func() {
		mine.Lock()
		defer mine.Unlock()
		switch {
		case ctx.Err() != nil:
		case hasLeft(s.client.fd):
			cancel(errClientLeft)
		default:
			check.Reset(departureInterval)
		}
	})
	check.Reset(departureInterval)
	return ctx, func() {
		mine.Lock()
		defer mine.Unlock()
		check.Stop()
		cancel(nil)
		expire()
	}
}

// turnAway ends a session that found no leader.
func (p *plane) turnAway(s *session, err error) {
	defer p.left(s)
	p.metrics.waiting.Dec()
	p.metrics.holdSeconds.Observe(time.Since(s.arrived).Seconds())
	switch {
	case errors.Is(err, errBroken):
		p.refuse(s, p.breaker.refusal(true))
	case errors.Is(err, errHoldOver), errors.Is(err, errHoldFull):
		p.refuse(s, p.noLeader(s.home))
	case errors.Is(err, errNoFiles):
		p.metrics.refusals.WithLabelValues("no_files").Inc()
		resetFD(s.client.fd)
	case errors.Is(err, errClientLeft):
		p.metrics.abandoned.Inc()
		resetFD(s.client.fd)
	default:
		resetFD(s.client.fd)
	}
}

// noLeader is what a client is told that has waited long enough.
func (p *plane) noLeader(r *route) refusal {
	reason := "not_ready"
	if r.current().leader.nobody() {
		reason = "no_leader"
	}
	return refusal{reason: reason, code: codeCannotConnect, message: "database {database} of instance {instance} has no leader at the moment; try again"}
}

// backoff grows from first to last with the number of failures in a row, with
// jitter.
func backoff(failures int, first, last time.Duration) time.Duration {
	limit := min(first<<min(failures-1, 20), last)
	return limit/2 + rand.N(limit/2+1)
}
