package state

import "context"

// waiter is a call of Await.
type waiter struct {
	cond func() bool
	met  chan struct{}
}

// Await waits until cond holds. cond is called once there is a picture and
// after every change of it, while it is held still; it must be quick, and must
// not call the engine.
func (e *Engine) Await(ctx context.Context, cond func() bool) error {
	select {
	case <-e.ready:
	case <-e.stopped:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w := &waiter{cond: cond, met: make(chan struct{})}
	e.mu.RLock()
	if cond() {
		e.mu.RUnlock()
		return nil
	}
	e.queueMu.Lock()
	e.waiters = append(e.waiters, w)
	e.queueMu.Unlock()
	e.mu.RUnlock()
	select {
	case <-w.met:
		return nil
	case <-e.stopped:
		e.forget(w)
		return ErrStopped
	case <-ctx.Done():
		e.forget(w)
		return context.Cause(ctx)
	}
}

// ViewNews waits until the picture is newer than since, calls read while it is
// held still, and returns its revision.
func (e *Engine) ViewNews(ctx context.Context, since int64, read func()) (int64, error) {
	if err := e.Await(ctx, func() bool { return e.store.revision != 0 && e.store.revision != since }); err != nil {
		return 0, err
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	read()
	return e.store.revision, nil
}

func (e *Engine) forget(gone *waiter) {
	e.queueMu.Lock()
	defer e.queueMu.Unlock()
	for i, w := range e.waiters {
		if w == gone {
			e.waiters = append(e.waiters[:i], e.waiters[i+1:]...)
			return
		}
	}
}

// wakeWaiters ends the calls of Await whose condition holds now.
func (e *Engine) wakeWaiters() {
	e.queueMu.Lock()
	defer e.queueMu.Unlock()
	kept := e.waiters[:0]
	for _, w := range e.waiters {
		if w.cond() {
			close(w.met)
		} else {
			kept = append(kept, w)
		}
	}
	clear(e.waiters[len(kept):])
	e.waiters = kept
}
