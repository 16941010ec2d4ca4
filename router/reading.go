package router

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// ReplicaFallback says what becomes of a reader when no replica is fit.
type ReplicaFallback string

const (
	// FallBackToLeader has the leader serve them.
	FallBackToLeader ReplicaFallback = "leader"
	// RefuseReaders refuses them with 57P03.
	RefuseReaders ReplicaFallback = "refuse"
)

// ParseReplicaFallback reads a ReplicaFallback.
func ParseReplicaFallback(s string) (ReplicaFallback, error) {
	switch f := ReplicaFallback(s); f {
	case FallBackToLeader, RefuseReaders:
		return f, nil
	}
	return "", fmt.Errorf("want leader or refuse, got %q", s)
}

// attemptsAtReplicas is how often a reader tries to join a replica before it is
// treated as if there were none.
const attemptsAtReplicas = 3

// reading is the read-only port of one instance: its readers are spread over the
// replicas that are fit. What is fit is looked at all the time while there are
// readers, and not at all otherwise.
type reading struct {
	plane *plane
	home  *route
	lag   lag

	// mu guards the rest.
	mu        sync.Mutex
	leader    leader
	followers map[string]*follower
	closed    bool
	// watched is closed when the watch that runs has looked once; nil if none runs.
	watched chan struct{}
	// used is when a reader came last.
	used time.Time
}

// follower is a replica with its readers.
type follower struct {
	replica
	// route has the readers as if the replica were a leader.
	route *route
	// listed is whether etcd lets it serve, fit whether it was found fit, too.
	listed, fit bool
	// unfit is since when it has not been, zero if it is.
	unfit time.Time
	// off is since when an operator has it switched off, zero if it is not.
	off time.Time
}

func newReading(p *plane, home *route) *reading {
	return &reading{plane: p, home: home, followers: map[string]*follower{}, lag: lag{most: p.cfg.MaxLag, mostTime: p.cfg.MaxLagTime}}
}

// steer takes in what etcd says of leader and replicas.
func (d *reading) steer(c course) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.leader
	d.leader = c.leader
	if f := d.followers[before.member]; f != nil && before.member != c.leader.member {
		// It led until now: its readers might have written, and must not any more.
		f.route.steer(leader{})
	}
	for _, f := range d.followers {
		f.listed = false
	}
	for _, r := range c.reads.replicas {
		d.list(r)
	}
	for _, f := range d.followers {
		if !f.listed {
			f.find(false)
		}
	}
}

// list notes that a replica may serve, where it is now.
func (d *reading) list(r replica) {
	f := d.followers[r.Member]
	if f == nil {
		f = &follower{route: newRoute(d.plane.ctx, d.home.instance, d.plane.metrics, d.plane.log)}
		f.route.quiet = true
		d.followers[r.Member] = f
	}
	f.replica, f.listed = r, true
	f.route.steer(f.asLeader())
	d.turn(f)
}

// turn notes whether an operator has the replica switched off. Then it gets no
// readers, and those it has may stay for a while.
func (d *reading) turn(f *follower) {
	switch {
	case !f.Off:
		f.off = time.Time{}
	case f.off.IsZero():
		f.off = time.Now()
		time.AfterFunc(d.grace(), d.evict)
	}
	f.route.bar(f.Off)
}

// grace is how long readers may stay at a replica that is switched off.
func (d *reading) grace() time.Duration {
	return min(d.plane.cfg.BreakGrace, d.plane.cfg.ReplicaGrace)
}

// asLeader is the replica in the words of routes.
func (f *follower) asLeader() leader { return leader{member: f.Member, addr: f.Addr, api: f.API} }

// find notes whether a replica is fit.
func (f *follower) find(fit bool) {
	if f.fit = fit; fit {
		f.unfit = time.Time{}
	} else if f.unfit.IsZero() {
		f.unfit = time.Now()
	}
}

// place gives a reader its server. It may be called where nothing may wait.
func (d *reading) place(s *session) {
	watched := d.use()
	if watched == nil {
		d.plane.conns.Go(func() { d.plane.turnAway(s, errGone) })
		return
	}
	select {
	case <-watched:
		d.assign(s)
	default:
		d.plane.conns.Go(func() { d.await(s, watched) })
	}
}

// use notes that a reader has come, and has the replicas watched. What it returns
// is closed when they have been looked at; nil says that the port is gone.
func (d *reading) use() (watched chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used = time.Now()
	if d.watched == nil && !d.closed {
		watched := make(chan struct{})
		d.watched = watched
		d.plane.conns.Go(func() { d.watch(d.plane.ctx, watched) })
	}
	return d.watched
}

// await gives a reader its server when the replicas have been looked at.
func (d *reading) await(s *session, watched chan struct{}) {
	ctx, cancel := d.plane.patience(s)
	defer cancel()
	select {
	case <-watched:
		cancel()
		d.assign(s)
	case <-ctx.Done():
		d.plane.turnAway(s, context.Cause(ctx))
	}
}

// assign has a reader join the best replica, or what stands in for it.
func (d *reading) assign(s *session) {
	if f, g := d.best(); f != nil && s.failures < attemptsAtReplicas {
		s.route = f.route
		if !s.loop.post(func() { s.join(g) }) {
			d.plane.conns.Go(func() { d.plane.turnAway(s, errGone) })
		}
		return
	}
	s.route, s.reading = d.home, nil
	if d.plane.cfg.ReplicaFallback == RefuseReaders {
		d.plane.conns.Go(func() { d.plane.refuseReader(s) })
		return
	}
	d.plane.metrics.readsByLeader.Inc()
	d.plane.lead(s, nil)
}

// best returns the fit replica with the fewest readers.
func (d *reading) best() (best *follower, g *reign) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fewest := 0
	for _, f := range d.followers {
		if !f.fit || f.Off {
			continue
		}
		if now := f.route.current(); now.isReady() {
			if n := f.route.count(); best == nil || n < fewest {
				best, g, fewest = f, now, n
			}
		}
	}
	return best, g
}

// missed is called when a reader could not join its replica: that is not fit
// until it has been looked at again.
func (d *reading) missed(s *session) {
	d.mu.Lock()
	for _, f := range d.followers {
		if f.route == s.route && s.failures > 0 {
			f.find(false)
		}
	}
	d.mu.Unlock()
	d.place(s)
}

// eachRoute calls do with the routes to the replicas.
func (d *reading) eachRoute(do func(*route)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.followers {
		do(f.route)
	}
}

// close cuts every reader of a replica.
func (d *reading) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, f := range d.followers {
		f.route.close()
	}
}

// refuseReader tells a reader that there is no replica for it.
func (p *plane) refuseReader(s *session) {
	defer p.left(s)
	p.metrics.waiting.Dec()
	p.refuse(s, refusal{
		reason: "no_replica", code: codeCannotConnect, cancels: true,
		message: "database {database} of instance {instance} has no replica that is up to date at the moment; try again",
	})
}
