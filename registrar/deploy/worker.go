package deploy

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"time"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/registrar/registry"
)

const (
	// An instance that died within youth of its start is in a crash loop: the
	// next start waits.
	youth      = 10 * time.Second
	retryBase  = 500 * time.Millisecond
	retryLimit = 30 * time.Second
	// buildRetry is how long a failed build waits: the same source mostly fails
	// again.
	buildRetry = 5 * time.Minute
)

// errNewGoal ends work on a goal that does not hold any more.
var errNewGoal = errors.New("goal changed")

// worker does everything that is done to one instance, serially.
type worker struct {
	*crew
	id     string
	log    *slog.Logger
	orders chan struct{}

	// These are guarded by the crew's mu.
	goal      goal
	interrupt context.CancelCauseFunc
	report    report

	// The rest belongs to run.
	failures int
	// refused are dynamic ports that something else turned out to have.
	refused map[int]bool
}

func newWorker(c *crew, id string) *worker {
	return &worker{crew: c, id: id, log: c.log.With("id", id), orders: make(chan struct{}, 1), refused: map[int]bool{}}
}

// aim gives the worker a goal, and ends what is being done for another. Call it
// under mu.
func (w *worker) aim(g goal) {
	if w.goal.want == g.want {
		return
	}
	w.goal = g
	if w.interrupt != nil {
		w.interrupt(errNewGoal)
	}
	staff.Poke(w.orders)
}

// run works until ctx ends or nothing is left of the instance.
func (w *worker) run(ctx context.Context) {
	for {
		wait, left := w.turn(ctx)
		if left || !staff.Rest(ctx, wait, w.orders, nil) {
			return
		}
	}
}

// turn does what the goal asks and returns how long to wait then, or that the
// worker is not needed any more.
func (w *worker) turn(ctx context.Context) (wait time.Duration, left bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g, left := w.begin(cancel)
	if left {
		return 0, true
	}
	var err error
	if g.want == wantRemoved {
		err = w.remove(ctx, g.placed)
	} else {
		err = w.keep(ctx, g.placed)
	}
	w.end()
	switch {
	case errors.Is(context.Cause(ctx), errNewGoal):
		w.failures = 0
		return 0, false
	case err == nil || ctx.Err() != nil:
		w.failures = 0
		return time.Hour, false
	}
	return w.fail(ctx, err), false
}

// begin takes the goal up. A worker without one leaves the crew.
func (w *worker) begin(interrupt context.CancelCauseFunc) (goal, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.goal.want == wantNothing {
		delete(w.workers, w.id)
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

// fail reports why the instance does not run and returns how long to wait. A
// Docker that does not answer is not the instance's failure.
func (w *worker) fail(ctx context.Context, err error) time.Duration {
	death, died := errors.AsType[deathError](err)
	if died && death.lived >= youth {
		w.failures = 0
	}
	wait := staff.Backoff(retryBase, retryLimit, w.failures)
	if died && w.failures == 0 {
		wait = 0
	}
	w.failures++
	if _, built := errors.AsType[buildError](err); built {
		wait = buildRetry
	}
	w.log.WarnContext(ctx, "instance does not run, will retry", "wait", wait, "err", err)
	if !registrar.DockerSilent(err) {
		w.say(func(r *report) { r.verdict = verdict{registry.InstanceError, err.Error()} })
	}
	return wait
}

// say changes the report.
func (w *worker) say(change func(*report)) {
	w.mu.Lock()
	next := w.report
	change(&next)
	moved := !reflect.DeepEqual(next, w.report)
	told := next.verdict != w.report.verdict
	w.report = next
	reported := w.reported
	w.mu.Unlock()
	if told {
		w.log.Info("instance's status changed", "status", next.status, "details", next.details)
	}
	if moved {
		reported()
	}
}
