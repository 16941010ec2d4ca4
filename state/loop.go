package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// pending is a group on its way to its commit.
type pending struct {
	group Group
	// ctx is the caller's of Do, nil for a Tick's group.
	ctx   context.Context
	ended bool
}

func (p *pending) end(err error) {
	if p.ended {
		return
	}
	p.ended = true
	if p.group.Done != nil {
		p.group.Done(err)
	}
}

// Run keeps the picture and drives the reactor until ctx ends, which is no
// error, or the reactor ends it. It may be called once. etcd's absence never
// ends it.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	// Last of all: until running.Wait returns, a commit may be under way.
	defer e.committer.close(ctx)
	defer running.Wait()
	defer cancel()
	defer close(e.stopped)
	if e.cfg.SessionTTL > 0 {
		running.Go(func() { e.keepSession(ctx) })
	}
	err := e.loop(ctx, &running)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		e.endPending()
		return nil
	}
	if left := e.endPending(); len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("not committed: %q: %w", left, ErrStopped))
	}
	return err
}

// endPending tells every group that waits that it will not be committed, and
// returns their names.
func (e *Engine) endPending() []string {
	e.takeQueue()
	for _, p := range e.landing {
		p.end(nil)
	}
	if e.inflight != nil {
		e.work = append(e.inflight.batch.groups, e.work...)
	}
	var left []string
	for _, p := range e.work {
		p.end(ErrStopped)
		left = append(left, p.group.Name)
	}
	return left
}

// loop is the engine: picture, Tick, commit.
func (e *Engine) loop(ctx context.Context, running *sync.WaitGroup) error {
	feed := newFeed()
	running.Go(func() { e.follow(ctx, feed) })
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(e.pause())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-feed.news:
			e.absorb(feed)
		case lease := <-e.leases:
			e.lease, e.tickDue = lease, true
		case <-e.wake:
			e.tickDue = true
		case c := <-e.commits:
			e.settle(c)
		case <-timer.C:
		}
		if err := e.step(ctx, feed, running); err != nil {
			return err
		}
		if e.finished && e.inflight == nil && len(e.work) == 0 {
			return nil
		}
	}
}

// pause is how long the loop may sleep when nothing comes in.
func (e *Engine) pause() time.Duration {
	switch {
	case e.inflight != nil || e.store.revision == 0:
		return time.Hour
	case e.behind != nil:
		return time.Until(e.behindFrom.Add(e.cfg.CommitTimeout))
	case len(e.work) > 0:
		return time.Until(e.holdUntil)
	case e.tickDue:
		return time.Until(e.nextTick)
	}
	return time.Hour
}

// absorb takes the feed's news into the picture.
func (e *Engine) absorb(feed *feed) {
	news := feed.take()
	e.mu.Lock()
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
		e.wakeWaiters()
	}
	e.land()
}

// step does what is due: nothing while a commit is under way or the picture
// does not hold it yet; then what waits to be committed; then a Tick.
func (e *Engine) step(ctx context.Context, feed *feed, running *sync.WaitGroup) error {
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
	if len(e.work) == 0 && e.tickDue && !e.finished && time.Until(e.nextTick) <= 0 {
		if err := e.tick(ctx); err != nil {
			return err
		}
	}
	if len(e.work) > 0 && time.Until(e.holdUntil) <= 0 {
		e.start(ctx, running)
	}
	return nil
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
	var groups []Group
	var err error
	if e.cfg.Reactor != nil {
		groups, err = e.cfg.Reactor.Tick(ctx, Tick{Revision: e.store.revision, Lease: e.lease})
	}
	e.mu.Lock()
	e.store.settle()
	e.mu.Unlock()
	e.metrics.ticks.Inc()
	e.metrics.tickSeconds.Observe(time.Since(began).Seconds())
	for _, g := range groups {
		e.work = append(e.work, &pending{group: g})
	}
	if errors.Is(err, ErrFinished) {
		e.finished = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("reactor %s: %w", e.cfg.Name, err)
	}
	return nil
}

// start fills one batch from what waits and sends it off.
func (e *Engine) start(ctx context.Context, running *sync.WaitGroup) {
	b := newBatch()
	var next []*pending
	for i, p := range e.work {
		if p.ctx != nil && p.ctx.Err() != nil {
			p.end(context.Cause(p.ctx))
			continue
		}
		err := b.add(e.store, p, e.lease)
		if errors.Is(err, errFull) {
			next = append(next, e.work[i:]...)
			break
		}
		if err != nil {
			e.refuse(p, err)
		}
	}
	e.work = next
	if b.empty() && !b.asked() {
		for _, p := range b.groups {
			p.end(nil)
		}
		return
	}
	e.inflight = &commit{batch: b}
	running.Go(func() { e.commits <- e.committer.run(ctx, b) })
}

// asked reports whether somebody outside waits for the batch.
func (b *batch) asked() bool {
	for _, p := range b.groups {
		if p.ctx != nil {
			return true
		}
	}
	return false
}

// refuse ends a group that can not be committed. A Tick's group is looked at
// again soon: the reactor still wants what it wanted.
func (e *Engine) refuse(p *pending, err error) {
	p.end(err)
	if p.ctx != nil || errors.Is(err, ErrSkip) || errors.Is(err, ErrStopped) {
		return
	}
	e.log.Warn("change refused, will look again", "group", p.group.Name, "err", err)
	e.tickDue = true
	e.nextTick = time.Now().Add(time.Second)
}

// settle takes in how a commit ended.
func (e *Engine) settle(c *commit) {
	e.inflight = nil
	e.metrics.commits.WithLabelValues(c.outcome()).Inc()
	switch {
	case c.err != nil:
		for _, p := range c.batch.groups {
			e.refuse(p, c.err)
		}
	case c.conflict != nil:
		e.work = append(c.batch.groups, e.work...)
		e.conflicts++
		e.holdUntil = time.Now().Add(retryDelay(e.conflicts))
		e.await(func() bool { return c.caughtUp(e.store) })
	default:
		e.conflicts = 0
		e.landing = c.batch.groups
		e.await(func() bool { return e.store.revision >= c.revision })
	}
}

// await holds Ticks and commits back until the picture has reached cond.
func (e *Engine) await(cond func() bool) {
	e.behind, e.behindFrom = cond, time.Now()
	e.land()
}

// land ends the waiting, and the groups that were committed meanwhile, if the
// picture has got that far.
func (e *Engine) land() {
	if e.behind == nil || !e.behind() {
		return
	}
	e.behind = nil
	for _, p := range e.landing {
		p.end(nil)
	}
	e.landing = nil
}

// retryDelay grows from 1 ms to 100 ms with the number of conflicts in a row,
// with jitter, so that contenders drift apart.
func retryDelay(conflicts int) time.Duration {
	limit := time.Millisecond << min(conflicts-1, 7)
	return rand.N(min(limit, 100*time.Millisecond))
}
