package registrar

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/state"
)

const (
	// A node that died within youth of its start is in a crash loop: the next
	// start waits.
	youth      = 10 * time.Second
	crashBase  = time.Second
	crashLimit = time.Minute
	// What failed is tried again after these.
	retryBase  = 500 * time.Millisecond
	retryLimit = 10 * time.Second
	// lookPatience is how long the first list may take before that is news.
	lookPatience = 2 * time.Second
)

// errNewGoal ends work on a goal that does not hold any more.
var errNewGoal = errors.New("goal changed")

// worker does everything that is done to one node, serially.
type worker struct {
	*crew
	node string
	log  *slog.Logger
	// news tells that something about the container is new, orders that a try
	// that failed is worth another at once.
	news, orders chan struct{}

	// These are guarded by the crew's mu.
	goal      goal
	interrupt context.CancelCauseFunc
	report    report
	stopping  bool // its container was asked to stop

	// The rest belongs to the worker's goroutine.
	settled  run // the last run whose death is dealt with
	crashes  int
	failures int
	rested   time.Time // no start before
	gone     bool      // removed, and seen to be gone
	kept     bool      // its volume, which no record wants, is left alone
	waiting  time.Time // since when, for the first list of what Docker has
	handed   handed    // what the container has been given
}

func newWorker(c *crew, node string) *worker {
	return &worker{
		crew: c, node: node, log: c.log.With("member", node),
		news: make(chan struct{}, 1), orders: make(chan struct{}, 1),
	}
}

// aim gives the worker a goal. One that wants something else ends what is being
// done for the old one. Call it under mu.
func (w *worker) aim(g goal) {
	if w.goal.same(g) {
		return
	}
	if w.interrupt != nil && w.goal.want != g.want {
		w.interrupt(errNewGoal)
	}
	w.goal = g
	staff.Poke(w.orders)
}

// run works until ctx ends or nothing is left of the node.
func (w *worker) run(ctx context.Context) {
	for {
		wait, left := w.turn(ctx)
		if left {
			return
		}
		news := w.news
		if w.failures > 0 {
			news = nil // the news may be of what just failed
		}
		if !staff.Rest(ctx, wait, w.orders, news) {
			return
		}
	}
}

// turn does what is to be done now and returns how long it can wait then, or
// that the worker is not needed any more.
func (w *worker) turn(ctx context.Context) (wait time.Duration, left bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g, left := w.begin(cancel)
	if left {
		return 0, true
	}
	wait, err := w.work(ctx, g)
	w.end()
	switch {
	case err == nil:
		w.failures = 0
		return wait, false
	case errors.Is(context.Cause(ctx), errNewGoal):
		return 0, false
	case ctx.Err() != nil:
		return time.Hour, false
	}
	w.failures++
	wait = staff.Backoff(retryBase, retryLimit, w.failures)
	w.fail(ctx, err, wait)
	return wait, false
}

// begin takes the goal up. A worker without one leaves the crew.
func (w *worker) begin(interrupt context.CancelCauseFunc) (goal, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.goal.want == wantNothing {
		delete(w.workers, w.node)
		return goal{}, true
	}
	w.interrupt = interrupt
	return w.goal, false
}

func (w *worker) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.interrupt = nil
}

// work is one step towards the goal, from whatever is there.
func (w *worker) work(ctx context.Context, g goal) (time.Duration, error) {
	c, here, loaded := w.inventory.container(w.node)
	if !loaded {
		return w.lookOut()
	}
	if g.want != wantRunning {
		return time.Hour, w.remove(ctx, g)
	}
	w.gone, w.kept = false, false
	switch {
	case here && c.dead:
		return 0, w.clear(ctx, c)
	case !here:
		return w.create(ctx, g)
	case c.running && w.outdated(g, c):
		return w.renew(ctx, g, c)
	case c.running:
		w.say(state.PhaseRunning, "")
		return w.furnish(ctx, g, c)
	}
	return w.revive(ctx, g, c)
}

// lookOut waits for the first list of what Docker has. If that takes long, it
// says why.
func (w *worker) lookOut() (time.Duration, error) {
	if w.waiting.IsZero() {
		w.waiting = time.Now()
	}
	if time.Since(w.waiting) >= lookPatience {
		w.say(state.PhaseCreating, w.silence())
	}
	return lookPatience, nil
}

func (w *worker) silence() string { return "docker does not answer on " + w.cfg.Hostname }

// say reports a phase.
func (w *worker) say(phase state.Phase, details string) {
	next := report{phase: phase, details: details}
	w.mu.Lock()
	same := w.report == next
	w.report = next
	w.mu.Unlock()
	if !same {
		w.log.Info("node's phase changed", "phase", phase, "details", details)
		w.reported()
	}
}

// fail reports that a step failed. A Docker that does not answer is no failure
// of the node: its phase stays.
func (w *worker) fail(ctx context.Context, err error, wait time.Duration) {
	w.log.WarnContext(ctx, "working on node, will retry", "wait", wait, "err", err)
	if !unreachable(err) {
		w.say(state.PhaseFailed, err.Error())
		return
	}
	w.mu.Lock()
	phase := cmp.Or(w.report.phase, state.PhaseCreating)
	w.mu.Unlock()
	w.say(phase, w.silence())
}
