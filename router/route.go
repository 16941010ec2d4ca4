package router

import (
	"context"
	"errors"
	"log/slog"
	"sync"
)

// errReignOver says that somebody else leads now, or nobody, or that the leader
// has to be looked at again.
var errReignOver = errors.New("the leader changed")

// errGone says that the instance has lost its port, or that the router stops.
var errGone = errors.New("the instance is not routed any more")

// reign is the time in which one member leads an instance without a break, or
// in which nobody does. Every doubt about the leader begins a new one.
type reign struct {
	leader leader
	// ctx lasts as long as the reign.
	ctx context.Context
	end context.CancelCauseFunc
	// ready is closed once the leader is known to take writes.
	ready chan struct{}
}

func newReign(ctx context.Context, l leader) *reign {
	ctx, end := context.WithCancelCause(ctx)
	return &reign{leader: l, ctx: ctx, end: end, ready: make(chan struct{})}
}

// isReady reports whether connections may go to the leader.
func (g *reign) isReady() bool {
	select {
	case <-g.ready:
		return true
	default:
		return false
	}
}

// route is one instance as the plane serves it: who leads it, and the sessions
// that were joined with that leader.
type route struct {
	instance string
	log      *slog.Logger
	metrics  *routeMetrics
	// ctx bounds every reign: it lasts as long as the plane runs.
	ctx context.Context
	// probing holds the one token that allows to probe, with what the last holder
	// left. A holder belongs to a connection that waits: nobody waits, nobody probes.
	probing chan probing

	// mu guards what follows. No session of another leader than the reign's is
	// ever in sessions.
	mu       sync.Mutex
	reign    *reign
	sessions map[*session]struct{}
	closed   bool
	// last is the newest leader that was not nobody.
	last leader
	lane lane
}

func newRoute(ctx context.Context, instance string, m *metrics, log *slog.Logger) *route {
	r := &route{
		instance: instance,
		log:      log.With("instance", instance),
		metrics:  m.route(instance),
		ctx:      ctx,
		probing:  make(chan probing, 1),
		reign:    newReign(ctx, leader{}),
		sessions: map[*session]struct{}{},
	}
	r.probing <- probing{}
	return r
}

// current returns the present reign.
func (r *route) current() *reign {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reign
}

// steer makes l the leader. Sessions to another one are cut at once: a demoted
// leader must not be written to, whether or not the next one is known.
//
// They are cut, too, when the leader key goes and the same member has it back a
// moment later: while it was gone nobody could tell whether another would lead,
// and a node that lost its key may run on unfenced. Only if that is over before
// this router has seen the key missing (one event hides the other, or etcd was
// out of reach) do sessions stay: they go to who leads now. If the member was
// another's replica meanwhile, its PostgreSQL has ended them itself.
func (r *route) steer(l leader) {
	r.mu.Lock()
	before := r.reign
	if r.closed || before.leader == l {
		r.mu.Unlock()
		return
	}
	r.reign = newReign(r.ctx, l)
	var cut []*session
	if !before.leader.same(l) {
		cut = r.dismissAll()
		r.lane.cut()
	} else if before.isReady() && before.leader.trusts(l) {
		close(r.reign.ready)
	} else {
		r.lane.hold()
	}
	r.pursue(r.reign)
	r.note(l)
	r.mu.Unlock()
	before.end(errReignOver)
	r.cut(cut)
}

// trusts reports whether a leader that is known to take writes still is after
// what etcd says now: it has kept the key and did not say that it is in trouble.
func (l leader) trusts(now leader) bool {
	return l.term == now.term && l.api == now.api && (now.sound || !l.sound)
}

// note tells log and metrics of a change of leader.
func (r *route) note(l leader) {
	switch {
	case l.nobody():
		r.log.Info("no leader", "member", r.last.member)
	case !l.same(r.last):
		r.metrics.leaderChanges.Inc()
		r.log.Info("leader changed", "member", l.member, "addr", l.addr, "was", r.last.member)
	default:
		r.log.Debug("leader confirmed", "member", l.member, "addr", l.addr, "sound", l.sound)
	}
	if !l.nobody() {
		r.last = l
	}
}

// doubt says that something is wrong with the leader of reign g: before another
// connection goes there, it is looked at again. Sessions stay.
func (r *route) doubt(g *reign) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.renew(g)
}

// doubtLeader is doubt for one who has the leader, not its reign.
func (r *route) doubtLeader(l leader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reign.isReady() && r.reign.leader.same(l) {
		r.renew(r.reign)
	}
}

func (r *route) renew(g *reign) {
	if r.reign != g || r.closed {
		return
	}
	r.reign = newReign(r.ctx, g.leader)
	g.end(errReignOver)
	r.lane.hold()
	r.pursue(r.reign)
}

// admit takes a new session in, unless its leader leads no more.
func (r *route) admit(s *session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || !r.reign.leader.same(s.leader) {
		return false
	}
	r.sessions[s] = struct{}{}
	r.metrics.opened.Inc()
	r.metrics.open.Inc()
	return true
}

// dismiss forgets a session that has ended.
func (r *route) dismiss(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, s)
	r.metrics.open.Dec()
}

// dismissAll empties the sessions and returns them. Their own dismiss follows.
func (r *route) dismissAll() []*session {
	all := make([]*session, 0, len(r.sessions))
	for s := range r.sessions {
		all = append(all, s)
	}
	clear(r.sessions)
	return all
}

// close cuts every session and lets no other in. Without its port nobody would
// steer them.
func (r *route) close() {
	r.mu.Lock()
	r.closed = true
	cut := r.dismissAll()
	r.lane.cut()
	last := r.reign
	r.mu.Unlock()
	last.end(errGone)
	r.cut(cut)
}

func (r *route) cut(sessions []*session) {
	if len(sessions) == 0 {
		return
	}
	for _, s := range sessions {
		s.reset()
	}
	r.metrics.cut.Add(float64(len(sessions)))
	r.log.Info("sessions cut", "sessions", len(sessions))
}
