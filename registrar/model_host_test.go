package registrar

import (
	"context"
	"log/slog"
	"time"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/registrar/watchdog"
	"github.com/pgpatron/pgpatron/state"
)

// modelHost is a registrar with one node. Its worker goes the way of
// worker.revive, with the real fencer; its watchdog finds by looking at the
// world, and has the real biter ask and claim.
type modelHost struct {
	*modelNode
	link *modelLink
	end  context.CancelFunc
}

// start runs the registrar until it crashes. What it knew before is forgotten.
func (h *modelHost) start() {
	ctx, cancel := context.WithCancel(h.world.ctx)
	h.world.change(func() { h.end = cancel })
	h.world.running.Go(func() { h.work(ctx) })
	h.world.running.Go(func() { h.watch(ctx) })
}

func (h *modelHost) fencer() *fencer {
	faults := h.world.faults
	return &fencer{
		etcd: modelKV{link: h.link, byCreation: faults.byCreation}, inspect: h.inspect, fresh: faults.fresh,
		log: slog.New(slog.DiscardHandler), fencings: newFencings(nil, h.name),
	}
}

// work deals with the node's deaths.
func (h *modelHost) work(ctx context.Context) {
	f := h.fencer()
	var settled run
	for ; ctx.Err() == nil; staff.Pause(ctx, 50*time.Millisecond) {
		c, _, err := h.inspect(ctx, "")
		d, died := c.death()
		if err != nil || !died {
			continue
		}
		if h.world.faults.noFence {
			staff.Pause(ctx, leaderTTL)
		} else if !settled.is(d.run) {
			v, err := f.fence(ctx, modelInstance, h.name, d)
			if err != nil || v == alive {
				continue
			}
			staff.Pause(ctx, h.link.upTo(electionPatience))
			settled = d.run
		}
		if ctx.Err() == nil {
			h.boot()
		}
	}
}

// inspect is Docker's answer, which takes a moment. A death is told by an event
// as often as not.
func (h *modelHost) inspect(ctx context.Context, _ string) (c container, here bool, err error) {
	staff.Pause(ctx, h.link.upTo(150*time.Millisecond))
	h.world.change(func() {
		c = container{id: h.current.id, startedAt: h.current.startedAt, running: !h.current.over, diedAt: h.current.diedAt}
	})
	if h.world.faults.blind {
		c.running, c.diedAt = false, time.Now()
	}
	c.byEvent, c.heardAt = h.link.draw()%2 == 0, time.Now()
	staff.Pause(ctx, h.link.upTo(150*time.Millisecond))
	return c, true, ctx.Err()
}

// watch kills the node if it is alive and dangerous.
func (h *modelHost) watch(ctx context.Context) {
	b := &biter{etcd: modelKV{link: h.link}, backend: h.name, log: slog.New(slog.DiscardHandler)}
	for ; ctx.Err() == nil; staff.Pause(ctx, 250*time.Millisecond) {
		finding, r, found := h.find()
		if !found {
			continue
		}
		t := watchdog.Target{Instance: modelInstance, Node: h.name, Started: r.startedAt}
		if b.confirm(ctx, t, finding) != nil {
			continue
		}
		leaderOnly := finding.LeaderOnly()
		record := state.Fence{Node: h.name, Backend: h.name, Cause: string(finding.Cause), At: time.Now()}
		if finding.IsSilence() && !h.world.faults.noWindow && b.claimWindow(ctx, modelInstance, record) != nil {
			continue
		}
		h.world.change(func() {
			if leaderOnly && !r.over {
				h.world.bitten(h.modelNode)
			}
			r.die()
		})
	}
}

// find looks at the node as the watchdog would after its patience. That it leads
// is for the biter to confirm.
func (h *modelHost) find() (f watchdog.Finding, r *modelRun, found bool) {
	h.world.change(func() {
		r = h.current
		for cause, since := range map[watchdog.Cause]time.Time{watchdog.PostgresSilent: r.frozen, watchdog.PatroniSilent: r.patroniFrozen} {
			if silent := time.Since(since); !since.IsZero() && silent > watchdog.DefaultPatience {
				f.Cause, found = cause, !r.over
			}
			if silent := time.Since(since); !since.IsZero() && silent > leaderTTL/2 {
				f.Cause = watchdog.PatroniDeaf
				break
			}
		}
	})
	return f, r, found
}
