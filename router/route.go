package router

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
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
	// ready is closed once the leader is known to take writes, at target.
	ready  chan struct{}
	target netip.AddrPort
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
	// quiet is whether changes of leader are nothing to tell of.
	quiet bool
	// limit is how many sessions the instance may have, 0 if it has no limit of
	// its own. clients are those in user space, held those of them that wait, and led
	// those in the kernel, as far as they have been counted.
	limit, clients, held, led atomic.Int64
	// ctx bounds every reign: it lasts as long as the plane runs.
	ctx context.Context
	// probing holds the one token that allows to probe, with what the last holder
	// left. A holder belongs to a connection that waits: nobody waits, nobody probes.
	probing chan probing

	// mu guards what follows. No session of another leader than the reign's is
	// ever in sessions, whether it is joined or has only called it.
	mu       sync.Mutex
	reign    *reign
	sessions map[*session]struct{}
	closed   bool
	// barred says that sessions may stay, and no other may join.
	barred bool
	// last is the newest leader that was not nobody.
	last leader
	lane lane
	// cuts is how often what the kernel leads has been cut.
	cuts uint64
}

func newRoute(ctx context.Context, instance string, m *metrics, log *slog.Logger) *route {
	r := &route{
		instance: instance,
		log:      log,
		metrics:  m.route(instance),
		ctx:      ctx,
		probing:  make(chan probing, 1),
		reign:    newReign(ctx, leader{}),
		sessions: map[*session]struct{}{},
	}
	r.probing <- probing{}
	return r
}

// logger returns a logger that names the instance. It is made when something is
// said: most routes never do.
func (r *route) logger() *slog.Logger { return r.log.With("instance", r.instance) }

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
	var cut map[*loop][]*session
	if !before.leader.same(l) {
		cut = r.dismissAll()
		r.cutLane()
	} else if before.isReady() && before.leader.trusts(l) {
		r.reign.target = before.target
		close(r.reign.ready)
	} else {
		r.lane.hold()
	}
	r.pursue(r.reign)
	r.note(l)
	r.mu.Unlock()
	before.end(errReignOver)
	r.cut(cut, l)
}

// trusts reports whether a leader that is known to take writes still is after
// what etcd says now: it has kept the key and did not say that it is in trouble.
func (l leader) trusts(now leader) bool {
	return l.term == now.term && l.api == now.api && !now.held && (now.sound || !l.sound)
}

// note tells log and metrics of a change of leader.
func (r *route) note(l leader) {
	if r.quiet {
		return
	}
	switch {
	case l.nobody():
		r.logger().Info("no leader", "member", r.last.member)
	case !l.same(r.last):
		r.metrics.leaderChanges.Add(1)
		r.logger().Info("leader changed", "member", l.member, "addr", l.addr, "was", r.last.member)
	default:
		r.logger().Debug("leader confirmed", "member", l.member, "addr", l.addr, "sound", l.sound)
	}
	if !l.nobody() {
		r.last = l
	}
}

// confirm says that the present leader takes sessions at target.
func (r *route) confirm(target netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reign.leader.nobody() || r.reign.isReady() {
		return
	}
	r.reign.target = target
	close(r.reign.ready)
}

// count returns how many sessions are with the leader or about to be.
func (r *route) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
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

// expect takes in a session that is about to call its reign's leader, unless
// that reign is over.
func (r *route) expect(s *session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.barred || r.reign != s.reign {
		return false
	}
	r.sessions[s] = struct{}{}
	return true
}

// admit takes a session in whose leader has answered, unless it leads no more,
// or has to be looked at again.
func (r *route) admit(s *session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.barred || !r.reign.leader.same(s.reign.leader) || !r.reign.isReady() {
		return false
	}
	r.metrics.opened.Add(1)
	r.metrics.open.Add(1)
	return true
}

// bar lets no other session join, or lets them again.
func (r *route) bar(barred bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.barred = barred; barred {
		r.interrupt()
	}
}

// dismiss forgets a session that has ended, or has no leader any more.
func (r *route) dismiss(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, s)
}

// byLoop returns the sessions.
func (r *route) byLoop() map[*loop][]*session {
	all := map[*loop][]*session{}
	for s := range r.sessions {
		all[s.loop] = append(all[s.loop], s)
	}
	return all
}

// dismissAll empties the sessions and returns them, by loop.
func (r *route) dismissAll() map[*loop][]*session {
	all := r.byLoop()
	clear(r.sessions)
	return all
}

// close cuts every session and lets no other in. Without its port nobody would
// steer them.
func (r *route) close() {
	r.mu.Lock()
	r.closed = true
	cut := r.dismissAll()
	r.cutLane()
	last := r.reign
	r.mu.Unlock()
	last.end(errGone)
	r.cut(cut, leader{})
}

// cut has the loops end what is not joined with the leader of now. All clients
// learn of it before the first server does, which takes as long again: a loop that
// cuts moves nothing, so no byte gets to the old leader meanwhile.
func (r *route) cut(sessions map[*loop][]*session, now leader) {
	for l, some := range sessions {
		l.post(func() {
			n := 0
			for _, s := range some {
				s.dropClient(now)
			}
			for _, s := range some {
				if s.depose(now) {
					n++
				}
			}
			r.metrics.cut.Add(uint64(n))
			r.logger().Info("sessions cut", "sessions", n)
		})
	}
}
