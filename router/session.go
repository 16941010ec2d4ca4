package router

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// session is a client and, once it has been joined with one, the server of its
// instance. It belongs to its loop; before that, to whoever lets it wait.
type session struct {
	plane *plane
	loop  *loop
	// home is the instance's route, where the session counts. route is the one to
	// its server: home, or that of a replica.
	home, route *route
	// reading is the read-only port that the session has come to, nil if it wants
	// the leader.
	reading *reading

	client, server side
	phase          phase
	// reign is the one under whose leader the session is, or tries to be.
	reign *reign
	// arrived is when the client came; failures counts attempts to join.
	arrived  time.Time
	failures int
	// held is whether the session counts as one that waits.
	held bool
	// deadline bounds the attempt to join.
	deadline *time.Timer
	// farewell is whether the client has said that it ends the session.
	farewell bool
}

// phase is how far a session is.
type phase int8

const (
	// waiting: there is no server.
	waiting phase = iota
	// joining: the server has been called and has not answered.
	joining
	// joined: bytes go both ways.
	joined
	// over: both sides are closed.
	over
)

func newSession(p *plane, r *route, l *loop, client int) *session {
	s := &session{plane: p, home: r, route: r, loop: l, arrived: time.Now()}
	s.client = side{session: s, peer: &s.server, fd: client}
	s.server = side{session: s, peer: &s.client, fd: -1}
	return s
}

// join calls the leader of reign g. What comes of it shows later.
func (s *session) join(g *reign) {
	s.reign, s.phase = g, joining
	if !s.route.expect(s) {
		s.phase = waiting
		s.plane.hold(s)
		return
	}
	fd, err := s.plane.sockets.call(g.target)
	if err == nil {
		s.server.fd = fd
		err = s.loop.watch(fd, sideEvents, &s.server)
	}
	if err != nil {
		s.missed(err)
		return
	}
	s.deadline = time.AfterFunc(s.plane.cfg.DialTimeout, func() {
		s.loop.post(func() {
			if s.phase == joining && s.reign == g {
				s.missed(unix.ETIMEDOUT)
			}
		})
	})
}

// missed is called when the leader could not be reached: then it is looked at
// again, and the session waits.
func (s *session) missed(err error) {
	s.hangUp()
	s.failures++
	s.plane.missed(s, err)
}

// hangUp ends the attempt to join.
func (s *session) hangUp() {
	if s.deadline != nil {
		s.deadline.Stop()
	}
	s.loop.drop(&s.server, true)
	s.route.dismiss(s)
	s.phase = waiting
}

// answered is called when the called server has answered, one way or another.
func (s *session) answered() {
	code, err := unix.GetsockoptInt(s.server.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err != nil {
		s.missed(err)
		return
	}
	s.deadline.Stop()
	if s.plane.breaker.isOn() || !s.route.admit(s) {
		s.hangUp()
		s.plane.hold(s)
		return
	}
	s.phase = joined
	s.plane.joined(s)
	if err := s.loop.watch(s.client.fd, sideEvents, &s.client); err != nil {
		s.reset()
	}
}

// broke is called when a side can not be read: its peer is reset, too.
func (s *session) broke(from *side, err error) {
	if from == &s.server {
		s.doubt()
	}
	if !errors.Is(err, unix.ECONNRESET) {
		s.route.logger().Debug("session broke", "err", err)
	}
	s.reset()
}

// doubt is called when the server ends first. That may be the end of its
// PostgreSQL, which Patroni starts again as a standby before it promotes it,
// leader key in hand all the while. So it is looked at before the next
// connection goes there, and before this one's client knows.
func (s *session) doubt() {
	if !s.client.ended && !s.farewell {
		s.route.doubtLeader(s.reign.leader)
	}
}

// reset cuts both sides at once.
func (s *session) reset() { s.finish(true) }

// finish closes both sides.
func (s *session) finish(abruptly bool) {
	s.loop.drop(&s.client, abruptly)
	s.loop.drop(&s.server, abruptly)
	s.phase = over
	s.route.dismiss(s)
	s.route.metrics.open.Add(-1)
	s.plane.left(s)
}

// dropClient resets the client of a session that depose would cut.
func (s *session) dropClient(now leader) {
	if s.phase == joined && s.isDeposed(now) {
		s.loop.drop(&s.client, true)
	}
}

// depose is called when another leads, or nobody. It reports whether it cut the
// session. One that has joined the new leader already stays.
func (s *session) depose(now leader) bool {
	if s.phase != joined && s.phase != joining || !s.isDeposed(now) {
		return false
	}
	if s.phase == joining {
		s.hangUp()
		s.plane.hold(s)
		return false
	}
	s.reset()
	return true
}

// isDeposed reports whether the session's leader is another than that of now.
func (s *session) isDeposed(now leader) bool { return now.nobody() || !s.reign.leader.same(now) }

// drop closes one side, abruptly or in order.
func (l *loop) drop(d *side, abruptly bool) {
	if d.fd < 0 {
		return
	}
	l.forget(d.fd)
	if abruptly {
		resetFD(d.fd)
	} else {
		unix.Close(d.fd)
	}
	if d.blocked != nil {
		d.blocked.release()
	}
	d.fd, d.blocked, d.readable = -1, nil, false
}
