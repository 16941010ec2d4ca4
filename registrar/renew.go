package registrar

import (
	"context"
	"errors"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// A container whose node's spec changed, or whose host got another address, is
// made anew, one step a turn: the image is fetched, the container stops by itself, it is dead like any other
// and loses its leadership if it still has some, it is removed, and a new one
// is made. Whatever step a crash follows, the next turn finds what is there and
// takes the next. Volume and host ports stay.

// errDied says that a container died while something was done for it.
var errDied = errors.New("container died")

// outdated reports whether a container was made from something else than its node
// is now, or is published where its host is not reached any more.
func (w *worker) outdated(g goal, c container) bool {
	return c.spec != g.spec.Digest() || !c.isAt(w.cfg.Backend)
}

// renew prepares for, and then stops, a container that runs and is outdated. While it can not be replaced it runs on,
// and its death is dealt with at once.
func (w *worker) renew(ctx context.Context, g goal, c container) (time.Duration, error) {
	err := w.whileRunning(ctx, c, func(ctx context.Context) error {
		return w.needImage(ctx, g.spec.Image, state.PhaseRunning)
	})
	if errors.Is(err, errDied) {
		return 0, nil
	}
	if err == nil {
		w.log.InfoContext(ctx, "stopping container to make it anew", "container", c.id, "was", c.spec, "spec", g.spec.Digest(), "addr", w.cfg.Backend)
		w.say(state.PhaseStopped, "stopping, to be made anew")
		err = w.stop(ctx, c.id)
	}
	if err == nil || ctx.Err() != nil {
		return 0, err
	}
	w.fail(ctx, err, retryLimit)
	return retryLimit, nil // no failure: that would keep news of a death waiting
}

// stop has a container stop by itself. Until that is seen to be over, the
// node's silence is no fault.
func (w *worker) stop(ctx context.Context, id string) error {
	set := func(stopping bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.stopping = stopping
	}
	set(true)
	defer set(false)
	if err := w.docker.stop(ctx, id); err != nil {
		return err
	}
	return look(ctx, w.docker, w.inventory, w.node)
}

// whileRunning does something that may take long, and ends it with errDied when
// the container's run is over.
func (w *worker) whileRunning(ctx context.Context, c container, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case <-w.news:
		}
		if now, here, _ := w.inventory.container(w.node); !here || !now.running || now.id != c.id {
			cancel()
			<-done
			return errDied
		}
	}
}

// supersede removes a container that does not run, if it is outdated and the new
// one can be made. The old one is better than none.
func (w *worker) supersede(ctx context.Context, g goal, c container) (bool, error) {
	if !w.outdated(g, c) {
		return false, nil
	}
	has, err := w.docker.hasImage(ctx, g.spec.Image)
	if err != nil || !has {
		return false, err
	}
	w.crashes, w.rested = 0, time.Time{}
	return true, w.clear(ctx, c)
}
