package router

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// session is a client joined with the leader of its instance.
type session struct {
	route          *route
	leader         leader
	client, server *net.TCPConn

	// clientEnded is whether the client has ended its side.
	clientEnded atomic.Bool
	// suspect makes sure that the leader is doubted once.
	suspect sync.Once
}

// run moves bytes both ways until both sides have ended, or one of them is
// reset: then the other is, too.
func (s *session) run() {
	defer s.route.dismiss(s)
	var up sync.WaitGroup
	up.Go(s.toServer)
	s.toClient()
	up.Wait()
	s.client.Close()
	s.server.Close()
}

// reset cuts both sides at once.
func (s *session) reset() {
	reset(s.client)
	reset(s.server)
}

func (s *session) toServer() {
	m := mover{from: s.client, to: s.server, moved: s.route.metrics.fromClient}
	err := m.run()
	if errors.Is(err, errWriting) {
		s.doubt()
	}
	s.clientEnded.Store(true)
	s.pass(err, s.server)
}

func (s *session) toClient() {
	m := mover{from: s.server, to: s.client, moved: s.route.metrics.fromServer}
	err := m.run()
	if !errors.Is(err, errWriting) {
		s.doubt()
	}
	s.pass(err, s.client)
}

// pass passes the end of one side on to the other: an end as an end, anything
// else as a reset.
func (s *session) pass(err error, to *net.TCPConn) {
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		s.reset()
	}
}

// doubt is called when the server ends first. That may be the end of its
// PostgreSQL, which Patroni starts again as a standby before it promotes it,
// leader key in hand all the while. So it is looked at before the next
// connection goes there, and before this one's client knows.
func (s *session) doubt() {
	if s.clientEnded.Load() {
		return
	}
	s.suspect.Do(func() { s.route.doubtLeader(s.leader) })
}

// errWriting marks an error of the side that is written to.
var errWriting = errors.New("writing")

// bufferSize is how much is moved at once.
const bufferSize = 64 << 10

// buffers are shared by all sessions: an idle one holds none.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// mover moves bytes one way. It reads and writes by itself: io.Copy between two
// TCP connections would splice them through a pipe, at six file descriptors a
// session and no faster.
type mover struct {
	from, to *net.TCPConn
	moved    prometheus.Counter

	buffer *[bufferSize]byte
	n      int
	err    error
}

// run returns nil when from has ended in order. A write that can not go on holds
// up the next read, and so the sender.
func (m *mover) run() error {
	raw, err := m.from.SyscallConn()
	if err != nil {
		return err
	}
	try := m.tryRead
	for {
		if err := m.read(raw, try); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		_, err := m.to.Write(m.buffer[:m.n])
		m.release()
		if err != nil {
			return errors.Join(errWriting, err)
		}
		m.moved.Add(float64(m.n))
	}
}

// read waits until there is something to read and only then takes a buffer, so
// that idle sessions cost none. It returns with bytes in the buffer, or with an
// error and no buffer.
func (m *mover) read(raw syscall.RawConn, try func(uintptr) bool) error {
	err := raw.Read(try)
	if err == nil {
		err = m.err
	}
	if err == nil && m.n == 0 {
		err = io.EOF
	}
	if err != nil && m.buffer != nil {
		m.release()
	}
	return err
}

// tryRead reads what is there; false means that nothing is yet.
func (m *mover) tryRead(fd uintptr) bool {
	m.buffer = buffers.Get().(*[bufferSize]byte)
	for {
		m.n, m.err = unix.Read(int(fd), m.buffer[:])
		if m.err != unix.EINTR {
			break
		}
	}
	if m.err == unix.EAGAIN {
		m.release()
		return false
	}
	return true
}

func (m *mover) release() {
	buffers.Put(m.buffer)
	m.buffer = nil
}
