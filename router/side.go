package router

import (
	"bytes"

	"golang.org/x/sys/unix"
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
	// spokenTo is whether something was written that may not be acknowledged yet.
	spokenTo bool
	// ended is whether the side has said all; told is whether its peer knows.
	ended, told bool
}

// sideEvents are those that a side wants: each as it comes about, none twice.
const sideEvents = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// shares is how often a side is read before others have their turn.
const shares = 4

// terminate is the message by which a client ends a session in order.
var terminate = []byte{'X', 0, 0, 0, 4}

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
	to.spokenTo = true
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
