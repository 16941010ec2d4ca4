package router

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync/atomic"
	"time"
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
)

// port is the public port of an instance, open or not yet.
type port struct {
	number   int
	route    *route
	listener *net.TCPListener

	failures int
	next     time.Time
}

func (h *port) close() {
	if h.listener != nil {
		h.listener.Close()
	}
}

// openPorts opens the ports that are due and returns when the next one is.
func (p *plane) openPorts(ctx context.Context) time.Duration {
	wait := idle
	for _, held := range p.shut {
		if time.Until(held.next) <= 0 {
			p.open(ctx, held)
		}
		if held.listener == nil {
			wait = min(wait, time.Until(held.next))
		}
	}
	return wait
}

// open tries to open one port. One that can not be had does not stop the
// others.
func (p *plane) open(ctx context.Context, held *port) {
	l, err := p.sockets.listen(ctx, p.host(), held.number)
	if err != nil {
		held.failures++
		held.next = time.Now().Add(backoff(held.failures, openFirst, openLast))
		p.complain(held, err)
		return
	}
	held.listener = l
	delete(p.shut, held.route.instance)
	p.failures.remove(held.number)
	p.log.Info("port open", "instance", held.route.instance, "port", held.number)
	p.conns.Go(func() { p.accept(ctx, held.route, l) })
	p.attach(held)
}

// host is the address to listen on; empty means all.
func (p *plane) host() string {
	if !p.cfg.Listen.IsValid() || p.cfg.Listen.IsUnspecified() && p.cfg.Listen.Is6() {
		return ""
	}
	return p.cfg.Listen.String()
}

func (p *plane) complain(held *port, err error) {
	if held.failures == 1 {
		p.log.Warn("port can not be opened, will retry", "instance", held.route.instance, "port", held.number, "err", err)
	}
	if held.failures < reportAfter {
		return
	}
	reason := err
	if op, ok := errors.AsType[*net.OpError](err); ok {
		reason = op.Err
	}
	p.failures.set(held.number, fmt.Sprintf("listening on port %d: %v", held.number, reason))
}

// accept takes connections until the listener is closed.
func (p *plane) accept(ctx context.Context, r *route, l *net.TCPListener) {
	for failures := 0; ; {
		conn, err := l.AcceptTCP()
		if err == nil {
			failures = 0
			p.conns.Go(func() { p.serve(ctx, r, conn) })
			continue
		}
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		failures++
		p.metrics.acceptErrors.Inc()
		r.log.Warn("accepting, will retry", "err", err)
		if sleep(ctx, backoff(failures, 5*time.Millisecond, time.Second)) != nil {
			return
		}
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
