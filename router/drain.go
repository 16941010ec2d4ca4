package router

import (
	"context"
	"time"
)

const (
	// handover is how long a router that is to end lets in who has begun to connect
	// to it. Who comes later goes to the next router, if that runs already.
	handover = 500 * time.Millisecond
	// drainInterval is how often a draining router looks whether it is empty.
	drainInterval = 100 * time.Millisecond
)

// drain waits until told ends, then lets no other client in and returns when the
// last one has left, or after the time for that. It returns at once when ctx ends.
func (p *plane) drain(told, ctx context.Context) error {
	select {
	case <-told.Done():
	case <-ctx.Done():
		return nil
	}
	if p.cfg.Drain == 0 {
		return nil
	}
	p.log.Info("draining", "sessions", p.sessions(), "at_most", p.cfg.Drain)
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Drain)
	defer cancel()
	if sleep(ctx, handover) != nil {
		return nil
	}
	close(p.leaving)
	for p.sessions() > 0 && sleep(ctx, drainInterval) == nil {
	}
	p.log.Info("drained", "sessions", p.sessions())
	return nil
}

// sessions returns how many sessions end with this router, on every data plane.
func (p *plane) sessions() int { return int(p.limits.open.Load()) + p.fast.sessions() }
