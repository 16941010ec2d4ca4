package router

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/pgpatron/pgpatron/router/kernel"
)

const (
	// pursuers are enough for the wave of a lost host, and few sockets.
	pursuers = 128
	// A leader that is not ready after a turn makes room for others for a while.
	pursuitTurn  = time.Second
	pursuitPause = 200 * time.Millisecond
)

// lanes join routes with the kernel, where it leads: a new leader is asked until
// it takes writes, though no client waits for it, and then given to the kernel.
type lanes struct {
	kernel  *kernel.Plane
	prober  *prober
	breaker *breaker
	limits  *limits
	// run runs a function in a goroutine that the plane waits for.
	run func(func())

	// mu guards the rest: what waits for a turn, and how many goroutines ask.
	mu      sync.Mutex
	waiting []pursuit
	asking  int
}

// pursuit is the wait for a leader to take writes, as long as its reign lasts.
type pursuit struct {
	route *route
	reign *reign
	addr  netip.AddrPort
}

// pursue does not block.
func (l *lanes) pursue(p pursuit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, p)
	if l.asking < pursuers {
		l.asking++
		l.run(l.ask)
	}
}

// ask gives turns until nothing waits for one.
func (l *lanes) ask() {
	for {
		p, ok := l.next()
		if !ok {
			return
		}
		l.turn(p)
	}
}

func (l *lanes) next() (pursuit, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.waiting = nil
		l.asking--
		return pursuit{}, false
	}
	p := l.waiting[0]
	l.waiting = l.waiting[1:]
	return p, true
}

// turn asks a leader for a while.
func (l *lanes) turn(p pursuit) {
	ctx, cancel := context.WithTimeout(p.reign.ctx, pursuitTurn)
	defer cancel()
	err := l.prober.await(ctx, p.route, p.reign)
	switch {
	case err == nil:
		p.route.offer(p.reign, p.addr)
	case errors.Is(err, context.DeadlineExceeded) && p.reign.ctx.Err() == nil:
		time.AfterFunc(pursuitPause, func() {
			if p.reign.ctx.Err() == nil {
				l.pursue(p)
			}
		})
	}
}
