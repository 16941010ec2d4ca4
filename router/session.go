package router

import (
	"bytes"
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

// side is one of the two connections of a session.
type side struct {
	session *session
	peer    *side
	fd      int
	// blocked is what peer has said and this side does not take, nil if nothing.
	blocked *buffer
	// readable is whether there may be something to read, ending whether the end
	// of it has come, too.
	readable, ending bool
	// queued is whether the loop goes on with this side by itself.
	queued bool
	// ended is whether the side has said all; told is whether its peer knows.
	ended, told bool
}

// sideEvents are those that a side wants: each as it comes about, none twice.
const sideEvents = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// shares is how often a side is read before others have their turn.
const shares = 4

// terminate is the message by which a client ends a session in order.
var terminate = []byte{'X', 0, 0, 0, 4}

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
	if !s.route.admit(s) {
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

// ready moves what can be moved now.
func (d *side) ready(events uint32) {
	s := d.session
	if s.phase == joining {
		s.answered()
	}
	if s.phase != joined {
		return
	}
	if events&^unix.EPOLLOUT != 0 {
		d.readable = true
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		d.ending = true
	}
	if d.blocked != nil && events&unix.EPOLLOUT != 0 {
		s.flush(d)
	}
	s.move(d)
	// A client that was reset while the server takes nothing is not waited for.
	if events&unix.EPOLLERR != 0 && d == &s.client && s.server.blocked != nil {
		s.reset()
	}
}

// move reads what from says and gives it to its peer, as long as that takes it.
func (s *session) move(from *side) {
	for range shares {
		if s.phase != joined || !from.readable || from.ended || from.peer.blocked != nil {
			return
		}
		s.moveOnce(from)
	}
	if s.phase == joined && from.readable && !from.queued && !from.ended && from.peer.blocked == nil {
		from.queued = true
		s.loop.more = append(s.loop.more, from)
	}
}

func (s *session) moveOnce(from *side) {
	b := s.loop.buffer
	n, err := readNow(from.fd, b.bytes[:])
	switch {
	case err == unix.EAGAIN:
		from.readable = false
	case err == unix.EINTR:
	case err != nil:
		s.broke(from, err)
	case n == 0:
		s.end(from)
	default:
		// Less than asked for: nothing more is there yet, unless it is the end.
		from.readable = n == len(b.bytes) || from.ending
		s.note(from, b.bytes[:n])
		b.begin, b.end = 0, n
		s.give(from.peer, b)
	}
}

// note counts what was said, and sees whether the client takes its leave.
func (s *session) note(from *side, said []byte) {
	if from == &s.client {
		s.route.metrics.fromClient.Add(uint64(len(said)))
		s.farewell = bytes.HasSuffix(said, terminate)
	} else {
		s.route.metrics.fromServer.Add(uint64(len(said)))
	}
}

// give writes the loop's buffer to one side. What that does not take stays with
// it, and the loop takes another buffer.
func (s *session) give(to *side, b *buffer) {
	s.write(to, b)
	if s.phase == joined && b.begin < b.end {
		to.blocked = b
		s.loop.buffer = takeBuffer()
	}
}

// flush goes on with what a side did not take before, and then with what its
// peer has said since.
func (s *session) flush(to *side) {
	s.write(to, to.blocked)
	if s.phase != joined || to.blocked.begin < to.blocked.end {
		return
	}
	to.blocked.release()
	to.blocked = nil
	if to.peer.ended {
		s.tell(to)
	} else {
		s.move(to.peer)
	}
}

func (s *session) write(to *side, b *buffer) {
	for b.begin < b.end {
		n, err := writeNow(to.fd, b.bytes[b.begin:b.end])
		switch {
		case err == unix.EAGAIN:
			return
		case err == unix.EINTR:
		case err != nil:
			if to == &s.server {
				s.doubt()
			}
			s.reset()
			return
		default:
			b.begin += n
		}
	}
}

// end is called when one side has said all.
func (s *session) end(from *side) {
	if from == &s.server {
		s.doubt()
	}
	from.ended = true
	if from.peer.blocked == nil {
		s.tell(from.peer)
	}
}

// tell says to one side that the other has said all. When both know, the session
// is over.
func (s *session) tell(to *side) {
	if err := unix.Shutdown(to.fd, unix.SHUT_WR); err != nil {
		s.reset()
		return
	}
	if to.told = true; to.peer.told {
		s.finish(false)
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

// depose is called when another leads, or nobody. It reports whether it cut the
// session. One that has joined the new leader already stays.
func (s *session) depose(now leader) bool {
	if s.phase != joined && s.phase != joining || s.reign.leader.same(now) && !now.nobody() {
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
