package router

import (
	"context"
	"time"

	"github.com/pgpatron/pgpatron/router/kernel"
)

const (
	// censusInterval is how often the kernel's sessions are counted.
	censusInterval = time.Second
	// censusShare bounds what counting may cost: the pause is so many times as long
	// as it took.
	censusShare = 20
)

// census makes limits hold for the sessions of both planes together. The kernel
// leads without asking; so it only leads new sessions while there is room, and
// what comes near a limit is left to user space, which counts exactly. See
// docs/decisions/0042.
type census struct {
	kernel *kernel.Plane
	fast   *fastPath
	limits *limits
	// open are the sessions that the last count found, by port, and opened those
	// that had ever been led by then.
	open   map[uint16]int
	opened map[uint16]uint64
	// full is whether all of them together are near the limit.
	full bool
}

func newCensus(f *fastPath, k *kernel.Plane) *census {
	return &census{kernel: k, fast: f, limits: f.plane.limits}
}

// run counts until ctx ends.
func (c *census) run(ctx context.Context) error {
	for pause := censusInterval; sleep(ctx, pause) == nil; {
		began := time.Now()
		if err := c.take(); err != nil && ctx.Err() == nil {
			c.fast.plane.log.Warn("counting the kernel's sessions, will retry", "err", err)
		}
		pause = max(censusInterval, censusShare*time.Since(began))
	}
	return nil
}

// take brings limits up to date, at the least cost that will do: as long as this
// host tracks fewer flows of any kind than would be near a limit, nothing is
// counted; as long as too few sessions were opened since the last count, they are
// not counted one by one.
func (c *census) take() error {
	routes := c.fast.led()
	if c.haveRoom(routes) {
		c.forget(routes)
		return nil
	}
	opened, err := c.kernel.Opened()
	if err != nil {
		return err
	}
	if !c.note(routes, opened) {
		return nil
	}
	if c.open, err = c.kernel.Open(); err != nil {
		return err
	}
	c.opened = opened
	c.note(routes, opened)
	for _, r := range routes {
		r.fill(c.full || c.isCrowded(r))
	}
	return nil
}

// haveRoom reports whether no limit can be near.
func (c *census) haveRoom(routes map[uint16]*route) bool {
	tracked, _, err := kernel.Tracked()
	if err != nil || c.limits.crowd(int64(tracked)+c.limits.open.Load(), c.limits.sessions, true) {
		return false
	}
	for _, r := range routes {
		if r.isFull() || c.limits.crowd(int64(tracked)+r.clients.Load(), c.limits.of(r), false) {
			return false
		}
	}
	return true
}

// forget takes the kernel's sessions for none: they are too few to matter.
func (c *census) forget(routes map[uint16]*route) {
	if c.limits.led.Swap(0) == 0 {
		return
	}
	for _, r := range routes {
		r.led.Store(0)
	}
}

// note sets how many sessions the kernel has at most, and reports whether that
// may be near a limit.
func (c *census) note(routes map[uint16]*route, opened map[uint16]uint64) (near bool) {
	var all int64
	for port, r := range routes {
		most := int64(c.open[port]) + int64(since(c.opened[port], opened[port]))
		r.led.Store(most)
		all += most
		near = near || r.isFull() || c.isCrowded(r)
	}
	c.limits.led.Store(all)
	c.full = c.limits.crowd(all+c.limits.open.Load(), c.limits.sessions, c.full)
	return near || c.full
}

// isCrowded reports whether an instance is near its limit.
func (c *census) isCrowded(r *route) bool {
	return c.limits.crowd(r.led.Load()+r.clients.Load(), c.limits.of(r), r.isFull())
}

// crowd reports whether so many sessions are near a limit: a tenth of it is left,
// or a fifth if they have been near before. No limit is never near.
func (l *limits) crowd(sessions, limit int64, before bool) bool {
	margin := max(limit/10, 1)
	if before {
		margin = max(limit/5, 1)
	}
	return limit > 0 && sessions >= limit-margin
}

// since is how far a counter has come. It may have begun anew.
func since(before, now uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}
