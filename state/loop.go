package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Run keeps the picture and drives the reactor until ctx ends, which is no
// error, or the reactor ends it. It may be called once. etcd's absence never
// ends it. The end of ctx ends Run within a second: a commit that is under way
// is given a moment to succeed.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	// Last of all: until running.Wait returns, a commit may be under way.
	defer e.committer.close(ctx)
	defer running.Wait()
	defer close(e.stopped)
	defer cancel()
	if e.cfg.SessionTTL > 0 {
		running.Go(func() { e.keepSession(ctx) })
	}
	running.Go(func() { e.learnSite(ctx) })
	err := e.loop(ctx, &running)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	cancel()
	e.endPending()
	return errors.Join(append([]error{err}, e.unsaved...)...)
}

// loop is the engine: picture, Tick, commit.
func (e *Engine) loop(ctx context.Context, running *sync.WaitGroup) error {
	feed := newFeed(e.metrics.waiting)
	running.Go(func() { e.follow(ctx, feed) })
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(e.pause())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-feed.news:
			e.news = true
		case lease := <-e.leases:
			e.lease, e.tickDue, e.nextTick = lease, true, time.Now()
		case <-e.wake:
			e.tickDue = true
		case <-e.queued:
		case c := <-e.commits:
			e.settle(c)
		case <-timer.C:
		}
		if e.news && e.rest() <= 0 {
			e.absorb(feed)
		}
		if err := e.step(ctx, feed, running); err != nil {
			return err
		}
		if e.done() {
			return nil
		}
	}
}

// lookInterval is how long news may wait in the feed for more: on a busy etcd a
// look at each event by itself costs more than taking it in.
const lookInterval = time.Millisecond

// rest is how long the loop leaves news in the feed, if positive: not while
// anybody waits for a commit to show up in the picture.
func (e *Engine) rest() time.Duration {
	if e.inflight != nil || e.behind != nil {
		return 0
	}
	return time.Until(e.nextLook)
}

// pause is how long the loop may sleep when nothing comes in.
func (e *Engine) pause() time.Duration {
	if e.news {
		return e.rest()
	}
	switch {
	case e.inflight != nil || e.store.revision == 0 || e.held.Load():
		return time.Hour
	case e.behind != nil:
		return time.Until(e.behindFrom.Add(e.cfg.CommitTimeout))
	}
	wait := time.Hour
	for _, p := range e.work {
		wait = min(wait, time.Until(p.hold))
	}
	if !e.retry.IsZero() {
		wait = min(wait, time.Until(e.retry))
	}
	if e.mayTick() {
		wait = min(wait, time.Until(e.nextTick))
	}
	return wait
}

// absorb takes the feed's news into the picture.
func (e *Engine) absorb(feed *feed) {
	e.news, e.nextLook = false, time.Now().Add(lookInterval)
	news := feed.take()
	e.mu.Lock()
	if news.reset {
		e.reset()
	}
	if news.full {
		e.store.replace(news.kvs, news.loaded)
	}
	e.store.apply(news.events, news.revision)
	changed := e.store.changed()
	e.mu.Unlock()
	e.metrics.revision.Set(float64(e.store.revision))
	if news.full {
		select {
		case <-e.ready:
		default:
			close(e.ready)
		}
		changed = true
	}
	if changed {
		e.tickDue = true
	}
	e.wakeWaiters()
	e.land()
}

// reset makes the picture ready for another etcd's contents. Call it under mu.
func (e *Engine) reset() {
	e.store.forgetRevisions()
	e.resets++
	e.held.Store(false)
	e.metrics.held.Set(0)
	if e.behind != nil {
		e.behind = func() bool { return true }
	}
}

// step does what is due: nothing while a commit is under way or the picture
// does not hold it yet; then what waits to be committed; then a Tick.
func (e *Engine) step(ctx context.Context, feed *feed, running *sync.WaitGroup) error {
	if e.held.Load() {
		e.refuseQueued(ErrReplaced)
		return nil
	}
	if e.store.revision == 0 || e.inflight != nil {
		return nil
	}
	if e.behind != nil {
		if time.Since(e.behindFrom) >= e.cfg.CommitTimeout {
			e.behindFrom = time.Now()
			e.log.Warn("watch is silent about a known change, loading everything again")
			feed.reload("silent")
		}
		return nil
	}
	e.takeQueue()
	if !e.retry.IsZero() && time.Until(e.retry) <= 0 {
		e.lookAgain()
	}
	if e.mayTick() && time.Until(e.nextTick) <= 0 {
		if err := e.tick(ctx); err != nil {
			return err
		}
	}
	if len(e.work) > 0 && !e.done() {
		e.start(ctx, running)
	}
	return nil
}

// done reports whether the reactor has finished and nothing of its own is
// left. Callers of Do do not keep the engine going.
func (e *Engine) done() bool { return e.finished && e.inflight == nil && !e.ownWork() }

// ownWork reports whether something of the last Tick waits to be committed.
func (e *Engine) ownWork() bool {
	return slices.ContainsFunc(e.work, func(p *pending) bool { return p.ctx == nil })
}

// mayTick reports whether a Tick is due and nothing of the last one is left.
// What others wait for with Do does not hold it up.
func (e *Engine) mayTick() bool { return e.tickDue && !e.finished && !e.ownWork() }

// refuseQueued ends what others wait for with Do.
func (e *Engine) refuseQueued(err error) {
	e.takeQueue()
	e.work = slices.DeleteFunc(e.work, func(p *pending) bool {
		if p.ctx != nil {
			p.end(err)
		}
		return p.ctx != nil
	})
}

func (e *Engine) takeQueue() {
	e.queueMu.Lock()
	defer e.queueMu.Unlock()
	e.work = append(e.work, e.queue...)
	e.queue = nil
}

func (e *Engine) tick(ctx context.Context) error {
	began := time.Now()
	e.tickDue = false
	e.nextTick = began.Add(e.cfg.TickInterval)
	e.nextLook = began.Add(lookInterval) // so that news and Tick come together
	var groups []Group
	var err error
	if e.cfg.Reactor != nil {
		groups, err = e.cfg.Reactor.Tick(ctx, Tick{Revision: e.store.revision, Lease: e.lease})
	}
	if len(groups) > 0 && e.cfg.observes() {
		groups, err = nil, errors.Join(err, ErrObserver)
	}
	e.mu.Lock()
	e.store.each(table.settle)
	e.mu.Unlock()
	e.metrics.ticks.Inc()
	e.metrics.tickSeconds.Observe(time.Since(began).Seconds())
	for _, g := range groups {
		e.work = append(e.work, &pending{group: g})
	}
	// After its last Tick a reactor can not mend anything: Run's error tells.
	e.finished = err != nil
	if err != nil && !errors.Is(err, ErrFinished) {
		return fmt.Errorf("reactor %s: %w", e.cfg.Name, err)
	}
	return nil
}
