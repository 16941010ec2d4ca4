package router

import "sync/atomic"

// limits bound how many clients are served at once, so that the router never
// runs out of file descriptors or memory.
type limits struct {
	// sessions is how many there may be, 0 if nobody has said; files how many the
	// open files allow, of which those that the kernel leads need none.
	sessions, files      int64
	instanceSessions     int64
	holds, instanceHolds int64
	open, held, refusing atomic.Int64
	// led are the sessions in the kernel, as far as they have been counted.
	led atomic.Int64
}

// refusalsAtOnce is how many clients are told at once why they are not served.
// Those beyond are cut.
const refusalsAtOnce = 256

func newLimits(cfg Config) *limits {
	return &limits{
		sessions: int64(cfg.MaxSessions), files: int64(sessionsByFiles(cfg.Ports)), instanceSessions: int64(cfg.MaxInstanceSessions),
		holds: int64(cfg.MaxHeld), instanceHolds: int64(cfg.MaxInstanceHeld),
	}
}

// take counts a new session of an instance, unless that would be one too many:
// then it says what there is too much of.
func (l *limits) take(r *route) (full string) {
	switch {
	case !below(&l.open, l.inUserSpace()):
		return "router"
	case !below(&r.clients, l.of(r)-r.led.Load()):
		l.open.Add(-1)
		return "instance"
	}
	return ""
}

// inUserSpace returns how many sessions there may be beside those in the kernel.
func (l *limits) inUserSpace() int64 {
	if l.sessions == 0 {
		return l.files
	}
	return min(l.files, l.sessions-l.led.Load())
}

// of returns how many sessions an instance may have.
func (l *limits) of(r *route) int64 {
	if own := r.limit.Load(); own > 0 {
		return own
	}
	return l.instanceSessions
}

// give takes back what take has counted.
func (l *limits) give(r *route) {
	l.open.Add(-1)
	r.clients.Add(-1)
}

// hold counts a session as one that waits, unless too many do.
func (l *limits) hold(r *route) bool {
	if !below(&l.held, l.holds) {
		return false
	}
	if !below(&r.held, l.instanceHolds) {
		l.held.Add(-1)
		return false
	}
	return true
}

// unhold takes back what hold has counted.
func (l *limits) unhold(r *route) {
	l.held.Add(-1)
	r.held.Add(-1)
}

// below counts one more if that stays within the limit.
func below(n *atomic.Int64, limit int64) bool {
	if n.Add(1) <= limit {
		return true
	}
	n.Add(-1)
	return false
}
