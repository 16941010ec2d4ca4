package router

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// The first and the last pause between two attempts to open a port.
	openFirst = 100 * time.Millisecond
	openLast  = 5 * time.Second
	// reportAfter is how many attempts have to fail before etcd is told: a router
	// that is just ending may still hold the port.
	reportAfter = 2
	// idle is how long the plane sleeps while nothing has to be tried again.
	idle = time.Hour
	// acceptsAtOnce is how many connections are taken before others have a turn.
	acceptsAtOnce = 16
	// acceptPause is how long nothing is accepted after that has failed.
	acceptPause = 100 * time.Millisecond
)

// portKey names one of the public ports of an instance.
type portKey struct {
	instance string
	reads    bool
}

// port is a public port of an instance, open or not yet.
type port struct {
	key    portKey
	number int
	route  *route
	// reading is not nil if it is the read-only port.
	reading *reading
	// listener is nil while the port is not open.
	listener *listener

	failures int
	next     time.Time
}

// close closes the port. When it returns, no other connection will come.
func (h *port) close() {
	if h.listener != nil {
		h.listener.loop.call(h.listener.close)
		h.listener = nil
	}
}

// openPorts opens the ports that are due and returns when the next one is.
func (p *plane) openPorts() time.Duration {
	wait := idle
	for _, held := range p.shut {
		if time.Until(held.next) <= 0 {
			p.open(held)
		}
		if held.listener == nil {
			wait = min(wait, time.Until(held.next))
		}
	}
	return wait
}

// open tries to open one port. One that can not be had does not stop the
// others.
func (p *plane) open(held *port) {
	fd, err := p.sockets.listen(p.cfg.Listen, held.number)
	if err != nil {
		held.failures++
		held.next = time.Now().Add(backoff(held.failures, openFirst, openLast))
		p.complain(held, err)
		return
	}
	held.listener = &listener{plane: p, loop: p.loops[held.number%len(p.loops)], port: held, fd: fd}
	held.listener.loop.post(held.listener.begin)
	delete(p.shut, held.key)
	p.failures.remove(held.number)
	p.log.Info("port open", "instance", held.route.instance, "port", held.number)
	p.attach(held)
}

func (p *plane) complain(held *port, err error) {
	if held.failures == 1 {
		p.log.Warn("port can not be opened, will retry", "instance", held.route.instance, "port", held.number, "err", err)
	}
	if held.failures < reportAfter {
		return
	}
	reason := err
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		reason = call.Err
	}
	p.failures.set(held.number, fmt.Sprintf("listening on port %d: %v", held.number, reason))
}

// listener accepts what comes to a public port. It belongs to its loop.
type listener struct {
	plane *plane
	loop  *loop
	port  *port
	fd    int
}

func (l *listener) begin() {
	if err := l.loop.watch(l.fd, unix.EPOLLIN, l); err != nil {
		l.port.route.logger().Error("watching a port", "err", err)
	}
}

// close takes in whoever has come and closes the port for good. Who is left in
// its queue would be reset.
func (l *listener) close() {
	if err := l.accept(backlog); err != nil {
		l.port.route.logger().Warn("accepting the last", "err", err)
	}
	l.loop.forget(l.fd)
	unix.Close(l.fd)
	l.fd = -1
}

// ready accepts.
func (l *listener) ready(uint32) {
	if err := l.accept(acceptsAtOnce); err != nil {
		l.pause(err)
	}
}

// accept takes in at most so many of those that have come.
func (l *listener) accept(most int) error {
	if !l.plane.spare.keep() {
		return unix.EMFILE
	}
	for range most {
		fd, err := acceptNow(l.fd)
		switch err {
		case nil:
			l.plane.arrive(l.loop, l.port, fd)
		case unix.EAGAIN:
			return nil
		case unix.EINTR, unix.ECONNABORTED:
		default:
			return err
		}
	}
	return nil
}

// pause stops accepting for a while: what is wrong, such as too many open files,
// is not mended by trying at once.
func (l *listener) pause(err error) {
	l.turnAway(err)
	l.plane.metrics.acceptErrors.Inc()
	l.port.route.logger().Warn("accepting, will retry", "err", err)
	l.loop.forget(l.fd)
	_ = unix.EpollCtl(l.loop.epoll, unix.EPOLL_CTL_DEL, l.fd, nil)
	time.AfterFunc(acceptPause, func() {
		l.loop.post(func() {
			if l.fd >= 0 {
				l.begin()
			}
		})
	})
}

// turnAway resets who waits to be accepted if there may be no more files open.
func (l *listener) turnAway(err error) {
	if isWantOfFiles(err) {
		l.plane.metrics.refusals.WithLabelValues("no_files").Add(float64(l.plane.spare.turnAway(l.fd)))
	}
}

// failures are the ports that can not be opened, with the reason. The plane
// writes them, the steering's Tick and /healthz read them.
type failures struct {
	reasons atomic.Pointer[map[int]string]
	// changed is called after every change.
	changed func()
}

// load returns the reasons by port. They are not to be changed.
func (f *failures) load() map[int]string {
	if reasons := f.reasons.Load(); reasons != nil {
		return *reasons
	}
	return nil
}

func (f *failures) set(port int, reason string) {
	if f.load()[port] == reason {
		return
	}
	f.change(func(reasons map[int]string) { reasons[port] = reason })
}

func (f *failures) remove(port int) {
	if _, ok := f.load()[port]; ok {
		f.change(func(reasons map[int]string) { delete(reasons, port) })
	}
}

// change is called by the plane's goroutine alone.
func (f *failures) change(edit func(map[int]string)) {
	reasons := maps.Clone(f.load())
	if reasons == nil {
		reasons = map[int]string{}
	}
	edit(reasons)
	f.reasons.Store(&reasons)
	f.changed()
}
