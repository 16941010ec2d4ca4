package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	// tx is what the group wanted when it was applied last.
	tx *Tx
	// lost is how many commits failed over a key that the group touches, and
	// hold until when it stands back for it.
	lost int
	hold time.Time
	// alone: a transaction that it shared was refused, perhaps for another's sake.
	alone bool
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

// start fills one batch from what waits and sends it off.
func (e *Engine) start(ctx context.Context, running *sync.WaitGroup) {
	b := newBatch()
	var next []*pending
	now := time.Now()
	b.spared = e.courtesy.spares(now)
	for i, p := range e.work {
		if p.ctx != nil && p.ctx.Err() != nil {
			p.end(context.Cause(p.ctx))
			continue
		}
		if p.hold.After(now) {
			next = append(next, p)
			continue
		}
		err := b.add(e.store, p, e.lease)
		if errors.Is(err, errFull) {
			next = append(next, e.work[i:]...)
			break
		}
		switch {
		case errors.Is(err, errSpared):
			p.hold = e.courtesy.until
			next = append(next, p)
		case errors.Is(err, errApart):
			next = append(next, p)
		case err != nil:
			e.refuse(p, err)
		}
	}
	e.work = next
	b.resets = e.resets
	if b.empty() && !b.asked() {
		for _, p := range b.groups {
			p.end(nil)
		}
		return
	}
	e.inflight = b
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

// settle takes in how a commit ended.
func (e *Engine) settle(c *commit) {
	e.inflight = nil
	e.metrics.commits.WithLabelValues(c.outcome()).Inc()
	switch {
	case c.batch.resets != e.resets:
		for _, p := range c.batch.groups {
			e.refuse(p, ErrUnknownOutcome)
		}
	case c.err != nil:
		e.settleRefused(c)
	case c.conflict != nil:
		e.settleConflict(c)
	default:
		e.courtesy.won(c.batch, time.Now())
		e.landing = c.batch.groups
		e.await(func() bool { return e.store.revision >= c.revision })
	}
}

// settleRefused refuses a group that was by itself. Of several it is not known
// which was at fault (one may hold a lease that is gone), so each tries again
// alone.
func (e *Engine) settleRefused(c *commit) {
	unclear := errors.Is(c.err, ErrStopped) || errors.Is(c.err, ErrUnknownOutcome)
	if len(c.batch.groups) == 1 || unclear {
		for _, p := range c.batch.groups {
			e.refuse(p, c.err)
		}
		return
	}
	for _, p := range c.batch.groups {
		p.alone = true
	}
	e.work = append(c.batch.groups, e.work...)
}

// settleConflict brings the groups to be applied again: at once those that
// touch nothing that was contested, the others after a pause, so that one
// contested key does not hold up what merely shared its transaction.
func (e *Engine) settleConflict(c *commit) {
	contested := c.contested()
	e.courtesy.lost(contested, time.Now())
	var calm, losers []*pending
	for _, p := range c.batch.groups {
		if !p.tx.touches(contested) {
			calm = append(calm, p)
			continue
		}
		p.lost++
		losers = append(losers, p)
	}
	pauseLosers(losers)
	e.work = append(append(calm, losers...), e.work...)
	e.await(func() bool { return c.caughtUp(e.store) })
}

// pauseLosers has all who lost together stand back equally long, so that they
// share the next transaction, too.
func pauseLosers(losers []*pending) {
	if len(losers) == 0 {
		return
	}
	hold := time.Now().Add(standBack(losers[0].lost))
	for _, p := range losers {
		p.hold = hold
	}
}

// refuse ends a group that can not be committed. Of a Tick's group the reactor
// still wants what it wanted: it will be told again.
func (e *Engine) refuse(p *pending, err error) {
	p.end(err)
	if p.ctx != nil || errors.Is(err, ErrSkip) {
		return
	}
	if e.finished {
		e.unsaved = append(e.unsaved, fmt.Errorf("not committed: %q: %w", p.group.Name, err))
	}
	if errors.Is(err, ErrStopped) {
		return
	}
	e.mu.Lock()
	e.store.each(table.doubt)
	e.mu.Unlock()
	level := slog.LevelDebug // a reactor may want it at every Tick: one warning is enough
	if e.retry.IsZero() {
		level, e.retry = slog.LevelWarn, time.Now().Add(refusalPause)
	}
	e.log.Log(context.Background(), level, "change refused, will look again", "group", p.group.Name, "err", err)
}

// refusalPause is how long after a refusal the reactor is told again.
const refusalPause = time.Second

// lookAgain has the next Tick told again of what came to nothing.
func (e *Engine) lookAgain() {
	e.retry, e.tickDue = time.Time{}, true
	e.mu.Lock()
	defer e.mu.Unlock()
	e.store.each(table.retell)
}

// endPending waits for the commit that is under way, which the end of ctx
// makes short, and tells every other group that it will not be committed.
func (e *Engine) endPending() {
	if e.inflight != nil {
		e.settle(<-e.commits)
	}
	for _, p := range e.landing {
		p.end(nil)
	}
	e.takeQueue()
	for _, p := range e.work {
		e.refuse(p, ErrStopped)
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

// retryDelay grows from 1 ms to 100 ms with the number of attempts, with
// jitter.
func retryDelay(attempts int) time.Duration {
	limit := time.Millisecond << min(attempts-1, 7)
	return rand.N(min(limit, 100*time.Millisecond))
}
