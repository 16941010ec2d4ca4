package router

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// loop waits for many sockets at once and does what can be done without waiting.
// Everything that it watches belongs to the goroutine that runs it; others post.
type loop struct {
	epoll int
	// wake is an eventfd: a write to it ends the wait.
	wake int
	// watched is by file descriptor.
	watched []watch
	stamp   int32
	// more are the sides that have been given their share for now and have more.
	more []*side
	// buffer is the one into which is read; a session keeps it only while its
	// peer does not take what is in it.
	buffer  *buffer
	stopped bool
	// load is the number of sessions.
	load atomic.Int64

	// mu guards the rest.
	mu     sync.Mutex
	inbox  []func()
	closed bool
}

// watcher is told what has become possible on its file descriptor, as epoll
// says it.
type watcher interface{ ready(events uint32) }

// watch is one file descriptor. The stamp tells an event that is meant for it
// from one for an earlier socket of the same number.
type watch struct {
	watcher watcher
	stamp   int32
}

const (
	// eventsAtOnce is how many events are fetched together.
	eventsAtOnce = 256
	// shortWait is how many milliseconds a loop waits before it lets Go's scheduler
	// know.
	shortWait = 5
)

func newLoop() (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an event loop: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("making an event loop: %w", err)
	}
	l := &loop{epoll: epoll, wake: wake, buffer: takeBuffer()}
	if err := l.watch(wake, unix.EPOLLIN|unix.EPOLLET, (*awakening)(l)); err != nil {
		return nil, err
	}
	return l, nil
}

// run serves until stop is called.
func (l *loop) run() error {
	defer l.release()
	events := make([]unix.EpollEvent, eventsAtOnce)
	for !l.stopped {
		n, err := l.wait(events)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("waiting for events: %w", err)
		}
		for i := range n {
			l.dispatch(&events[i])
		}
		l.goOn()
	}
	return nil
}

// wait waits for events: shortly at first, as where there is traffic something
// always comes soon, and then in the way that lets others have the processor.
func (l *loop) wait(events []unix.EpollEvent) (int, error) {
	if len(l.more) > 0 {
		return waitShortly(l.epoll, events, 0)
	}
	n, err := waitShortly(l.epoll, events, shortWait)
	if n > 0 || err != nil {
		return n, err
	}
	n, err = unix.EpollWait(l.epoll, events, -1)
	return max(n, 0), err
}

func (l *loop) dispatch(e *unix.EpollEvent) {
	if w := l.watched[e.Fd]; w.watcher != nil && w.stamp == e.Pad {
		w.watcher.ready(e.Events)
	}
}

// goOn gives every side that has more another share.
func (l *loop) goOn() {
	more := l.more
	l.more = nil
	for _, s := range more {
		s.queued = false
		s.session.move(s)
	}
}

// watch has w told of what happens on fd.
func (l *loop) watch(fd int, events uint32, w watcher) error {
	if fd >= len(l.watched) {
		l.watched = append(l.watched, make([]watch, fd+64-len(l.watched))...)
	}
	l.stamp++
	e := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: l.stamp}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	l.watched[fd] = watch{watcher: w, stamp: l.stamp}
	return nil
}

// forget is called before fd is closed, which takes it out of the epoll.
func (l *loop) forget(fd int) {
	if fd < len(l.watched) {
		l.watched[fd] = watch{}
	}
}

// post has the loop call do soon, in the order of the posts. It returns false if
// the loop has ended: then do is never called.
func (l *loop) post(do func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if l.inbox = append(l.inbox, do); len(l.inbox) == 1 {
		// It fails only when the counter is full: then the loop wakes anyway.
		_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	return true
}

// call has the loop call do and waits until it has. A loop that has ended calls
// nothing.
func (l *loop) call(do func()) {
	done := make(chan struct{})
	if l.post(func() { do(); close(done) }) {
		<-done
	}
}

// stop ends the loop after what was posted before.
func (l *loop) stop() { l.post(func() { l.stopped = true }) }

// release gives back what the loop holds. What was posted too late is called,
// too: somebody may wait for it.
func (l *loop) release() {
	l.mu.Lock()
	l.closed = true
	late := l.inbox
	l.mu.Unlock()
	for _, do := range late {
		do()
	}
	unix.Close(l.epoll)
	unix.Close(l.wake)
}

// awakening takes in what was posted.
type awakening loop

func (a *awakening) ready(uint32) {
	l := (*loop)(a)
	var count [8]byte
	// Nothing to read means that it was read before: the inbox counts.
	_, _ = unix.Read(l.wake, count[:])
	l.mu.Lock()
	posted := l.inbox
	l.inbox = nil
	l.mu.Unlock()
	for _, do := range posted {
		do()
	}
}

// othersLeast is how many of Go's processors are left to what is no loop.
const othersLeast = 2

// spreadFrom is how many more than twice the fewest sessions a loop may have
// before it gives new ones away.
const spreadFrom = 16

// loops share the sessions.
type loops []*loop

// newLoops makes n loops. Each of them keeps one of Go's processors while there
// is traffic, so there have to be some more for everything else.
func newLoops(n int) (loops, error) {
	if others := runtime.GOMAXPROCS(0) - n; others < othersLeast {
		runtime.GOMAXPROCS(n + othersLeast)
	}
	var ls loops
	for range n {
		l, err := newLoop()
		if err != nil {
			return nil, err
		}
		ls = append(ls, l)
	}
	return ls, nil
}

// choose returns the loop for a new session that has come to one of them. That
// is the same, because another one would have to be woken, unless the same has
// far more to do than the one with the fewest. Ports are spread over the loops,
// so that this is about single instances with many clients.
func (ls loops) choose(near *loop) *loop {
	best := near
	for _, l := range ls {
		if l.load.Load() < best.load.Load() {
			best = l
		}
	}
	if near.load.Load() > 2*best.load.Load()+spreadFrom {
		return best
	}
	return near
}
