package registrar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
)

const (
	// relistInterval is how often everything is listed anew: events get lost.
	relistInterval = time.Minute
	// beatInterval is how often Docker is asked for a sign of life.
	beatInterval = 5 * time.Second
)

// watcher keeps the inventory in step with Docker.
type watcher struct {
	docker    *docker
	inventory *inventory
	log       *slog.Logger
}

// errSilent says that Docker does not answer at all.
var errSilent = errors.New("docker does not answer")

// Run watches until ctx ends, through breaks of the event stream and absences
// of Docker.
func (w *watcher) Run(ctx context.Context) error {
	silent := false
	for failures := 1; ; failures++ {
		began := time.Now()
		err := w.follow(ctx, silent)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > time.Second {
			failures = 1
		}
		switch {
		case !errors.Is(err, errSilent):
			silent = false
			w.log.WarnContext(ctx, "watching docker broke, will look again", "err", err)
		case !silent:
			silent = true
			w.log.WarnContext(ctx, "docker is not reachable, will retry", "addr", w.docker.client.DaemonHost(), "err", err)
		}
		staff.Pause(ctx, staff.Backoff(50*time.Millisecond, 2*time.Second, failures))
	}
}

// follow subscribes, lists, and takes in events until the stream breaks. The
// subscription comes first: what happens during the list is told by an event.
func (w *watcher) follow(ctx context.Context, silent bool) error {
	ctx, cancel := context.WithCancel(ctx)
	asker := &asker{failed: make(chan error, 1)}
	defer asker.running.Wait()
	defer cancel()
	if err := w.greet(ctx, silent); err != nil {
		return err
	}
	impatient := time.AfterFunc(askTimeout, cancel)
	events, broken := w.docker.subscribe(ctx)
	impatient.Stop()
	asker.ask(ctx, w.list)
	relist, beat := time.NewTicker(relistInterval), time.NewTicker(beatInterval)
	defer relist.Stop()
	defer beat.Stop()
	for {
		select {
		case m := <-events:
			e := eventOf(m)
			if e.action == eventDie {
				w.inventory.died(e)
			}
			asker.ask(ctx, func(ctx context.Context) error { return look(ctx, w.docker, w.inventory, e.node) })
		case <-relist.C:
			asker.ask(ctx, w.list)
		case <-beat.C:
			asker.ask(ctx, w.beat)
		case err := <-asker.failed:
			return err
		case err := <-broken:
			return fmt.Errorf("event stream: %w", err)
		}
	}
}

// asker puts questions to Docker that nobody waits for, so that news of a
// death is never behind another container's business.
type asker struct {
	running sync.WaitGroup
	failed  chan error
}

func (a *asker) ask(ctx context.Context, question func(context.Context) error) {
	a.running.Go(func() {
		if err := question(ctx); err != nil {
			select {
			case a.failed <- err:
			default:
			}
		}
	})
}

// greet finds out whether Docker answers, and notes it.
func (w *watcher) greet(ctx context.Context, silent bool) error {
	version, err := w.docker.version(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.inventory.answers("")
		}
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	w.inventory.answers(version)
	if silent {
		w.log.InfoContext(ctx, "docker answers again", "version", version)
	}
	return nil
}

func (w *watcher) beat(ctx context.Context) error {
	_, err := w.docker.version(ctx)
	return err
}

// list looks at everything.
func (w *watcher) list(ctx context.Context) error {
	began := time.Now()
	containers, err := w.docker.containers(ctx)
	if err != nil {
		return err
	}
	volumes, err := w.docker.volumes(ctx, w.docker.owner.filter())
	if err != nil {
		return err
	}
	volumes = slices.DeleteFunc(volumes, func(v volume) bool { return v.name != containerName(v.node) })
	w.inventory.load(began, containers, volumes)
	return nil
}

// look asks Docker for a node's container and puts it into the inventory.
func look(ctx context.Context, d *docker, i *inventory, node string) error {
	began := time.Now()
	c, here, err := d.inspect(ctx, containerName(node))
	if err != nil {
		return err
	}
	i.saw(node, began, c, here)
	return nil
}
