package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/pgpatron/pgpatron/registrar"
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
	// patience is how many probes in a row may fail before that is told.
	patience = 3
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
	poke(w.orders)
}

// run works until ctx ends or nothing is left of the instance.
func (w *worker) run(ctx context.Context) {
	for {
		wait, left := w.turn(ctx)
		if left {
			return
		}
		again := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			again.Stop()
			return
		case <-w.orders:
		case <-again.C:
		}
		again.Stop()
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
	wait := registrar.Backoff(retryBase, retryLimit, w.failures)
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

// deathError says that an instance's container died.
type deathError struct {
	exitCode int
	lived    time.Duration
	// last is what it said last.
	last string
}

// Error tells the exit code and the last words.
func (e deathError) Error() string {
	if e.last == "" {
		return fmt.Sprintf("exit code %d", e.exitCode)
	}
	return fmt.Sprintf("exit code %d: %s", e.exitCode, e.last)
}

// keep has the instance run, and watches it until it dies: then it returns why.
func (w *worker) keep(ctx context.Context, p placed) error {
	w.say(func(r *report) {
		r.host = w.cfg.Hostname
		if r.status == "" {
			r.verdict = verdict{registry.InstanceUnknown, "is being made"}
		}
	})
	c, err := w.obtain(ctx, p)
	if err != nil {
		return err
	}
	w.say(func(r *report) {
		r.addr, r.ports = c.addr(p.Run), c.ports(p.Run)
		if r.status != registry.InstanceHealthy {
			r.verdict = verdict{registry.InstanceUnknown, "was started"}
		}
	})
	died := make(chan error, 1)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go func() { died <- w.docker.wait(watching, c) }()
	w.probeUntil(watching, p, died, stop)
	return <-died
}

// probeUntil probes the instance until its death is known or ctx ends, and
// leaves what was found about the death in died.
func (w *worker) probeUntil(ctx context.Context, p placed, died chan error, stop context.CancelFunc) {
	in := w.current().instance(p)
	bad := 0
	for {
		found := w.prober.probe(ctx, in)
		if ctx.Err() != nil {
			return
		}
		if found.status == registry.InstanceHealthy {
			bad = 0
		} else {
			bad++
		}
		if bad == 0 || bad >= patience || w.current().status != registry.InstanceHealthy {
			w.say(func(r *report) { r.verdict = found })
		}
		again := time.NewTimer(found.next())
		select {
		case <-ctx.Done():
			again.Stop()
			return
		case err := <-died:
			again.Stop()
			died <- err
			stop()
			return
		case <-again.C:
		}
	}
}

func (w *worker) current() report {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.report
}

// obtain returns the instance's running container: the one that runs already,
// or a new one in the place of one that does not. A new one has the old one's
// ports, so that its URL stays.
func (w *worker) obtain(ctx context.Context, p placed) (running, error) {
	old, here, err := w.docker.inspect(ctx, p.ID)
	if err != nil {
		return running{}, err
	}
	if here && old.alive {
		return old, nil
	}
	if err := w.needImage(ctx, p.Run); err != nil {
		return running{}, err
	}
	if here {
		if err := w.docker.remove(ctx, old.id); err != nil {
			return running{}, err
		}
	}
	c, port, err := w.docker.launch(ctx, p, w.keptPorts(old), w.refused)
	if err != nil && port != 0 {
		w.refused[port] = true
	}
	return c, err
}

// keptPorts are the dynamic ports that the instance has had.
func (w *worker) keptPorts(old running) map[int]int {
	kept := map[int]int{}
	for _, p := range w.current().ports {
		kept[p.Internal] = p.Host
	}
	for internal, addr := range old.addrs {
		kept[internal] = cmp.Or(kept[internal], int(addr.Port()))
	}
	for internal, port := range kept {
		if w.refused[port] {
			delete(kept, internal)
		}
	}
	return kept
}

func (w *worker) needImage(ctx context.Context, run registry.Run) error {
	if run.Repository != nil {
		return w.builder.need(ctx, run, func() {
			w.say(func(r *report) { r.verdict = verdict{registry.InstanceUnknown, "image is being built"} })
		})
	}
	return registrar.NeedImage(ctx, w.docker.client, run.Image)
}

// remove lets the instance stop, and removes its container, and its image if
// that was built here and nothing else needs it.
func (w *worker) remove(ctx context.Context, p placed) error {
	c, here, err := w.docker.inspect(ctx, w.id)
	if err != nil {
		return err
	}
	if here {
		w.log.InfoContext(ctx, "removing instance")
		if err := w.docker.stop(ctx, c.id); err != nil {
			return err
		}
		if err := w.docker.remove(ctx, c.id); err != nil {
			return err
		}
		w.docker.dropImage(ctx, c.image)
	} else if p.Run.Repository != nil {
		w.docker.dropImage(ctx, p.Run.ImageRef())
	}
	w.say(func(r *report) { r.gone = true })
	return nil
}
