package state

import (
	"cmp"
	"context"
	"fmt"
	"sync"
)

// Do commits a group from outside a Tick and waits until the picture holds it.
// Groups that wait at the same time share a transaction. A group that only
// reads is confirmed by etcd, too: after Do, what it read was true at some
// moment of the call. If ctx ends first, the group may still be committed;
// Apply does not run once Do has returned.
func (e *Engine) Do(ctx context.Context, g Group) error {
	if e.cfg.observes() {
		return fmt.Errorf("group %s: %w", g.Name, ErrObserver)
	}
	ended := make(chan error, 1)
	abandon := guardApply(ctx, &g)
	defer abandon()
	done := g.Done
	g.Done = func(err error) {
		if done != nil {
			done(err)
		}
		ended <- err
	}
	e.queueMu.Lock()
	e.queue = append(e.queue, &pending{group: g, ctx: ctx})
	e.queueMu.Unlock()
	signal(e.queued)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-e.stopped:
		select {
		case err := <-ended:
			return err
		default:
			return ErrStopped
		}
	}
}

// guardApply makes the group's Apply refuse to run once abandon was called.
func guardApply(ctx context.Context, g *Group) (abandon func()) {
	var mu sync.Mutex
	abandoned := false
	apply := g.Apply
	g.Apply = func(tx *Tx) error {
		mu.Lock()
		defer mu.Unlock()
		if abandoned {
			return cmp.Or(context.Cause(ctx), ErrStopped)
		}
		return apply(tx)
	}
	return func() {
		mu.Lock()
		defer mu.Unlock()
		abandoned = true
	}
}
