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
	kernel counter
	fast   *fastPath
	limits *limits
	// last is what the last count one by one has found.
	last map[*route]tally
	// full is whether all of them together are near the limit.
	full bool
}

// counter counts what the kernel leads, by port: how many sessions it has led ever,
// and how many are open, which costs more.
type counter interface {
	Opened() (map[uint16]uint64, error)
	Open() (map[uint16]int, error)
}

// tally is what a count has found of one route: the open sessions, those that had
// ever been led by then, and how often it had been cut before.
type tally struct {
	open         int64
	opened, cuts uint64
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
// counted; as long as too few sessions were opened since the last count, and none
// cut, they are not counted one by one.
func (c *census) take() error {
	routes := c.fast.led()
	if c.haveRoom(routes) {
		c.forget(routes)
		return nil
	}
	return c.count(routes)
}

// count asks the kernel. Who is cut meanwhile has no sessions there, whatever was
// counted: those that come back at once must find their places free.
func (c *census) count(routes map[uint16]*route) error {
	now, err := c.estimate(routes)
	if err != nil {
		return err
	}
	if !c.isUnsure(now) {
		c.publish(now)
		return nil
	}
	open, err := c.kernel.Open()
	if err != nil {
		return err
	}
	for port, r := range routes {
		now[r] = tally{open: int64(open[port]), opened: now[r].opened, cuts: now[r].cuts}
	}
	c.last = now
	c.publish(now)
	for _, r := range routes {
		r.fill(c.full || c.isCrowded(r, r.led.Load()))
	}
	return nil
}

// estimate returns how many sessions are open at most.
func (c *census) estimate(routes map[uint16]*route) (map[*route]tally, error) {
	now := make(map[*route]tally, len(routes))
	for _, r := range routes {
		now[r] = tally{cuts: r.cutsUntilNow()}
	}
	opened, err := c.kernel.Opened()
	for port, r := range routes {
		last := c.last[r]
		most := last.open + int64(since(last.opened, opened[port]))
		now[r] = tally{open: most, opened: opened[port], cuts: now[r].cuts}
	}
	return now, err
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
	if c.limits.led.Load() == 0 {
		return
	}
	for _, r := range routes {
		r.setLed(tally{})
	}
}

// isUnsure reports whether an estimate will not do: it may be near a limit, or
// stand on no count, or on one from before a cut.
func (c *census) isUnsure(now map[*route]tally) bool {
	var all int64
	for r, n := range now {
		last, counted := c.last[r]
		if !counted || last.cuts != n.cuts || r.isFull() || c.isCrowded(r, n.open) {
			return true
		}
		all += n.open
	}
	return c.isFull(all)
}

// publish has limits hold for what is counted.
func (c *census) publish(now map[*route]tally) {
	for r, n := range now {
		r.setLed(n)
	}
	c.full = c.isFull(c.limits.led.Load())
}

// isFull reports whether all sessions are near the limit if so many are in the kernel.
func (c *census) isFull(led int64) bool {
	return c.limits.crowd(led+c.limits.open.Load(), c.limits.sessions, c.full)
}

// isCrowded reports whether an instance is near its limit if it has so many
// sessions in the kernel.
func (c *census) isCrowded(r *route, led int64) bool {
	return c.limits.crowd(led+r.clients.Load(), c.limits.of(r), r.isFull())
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
