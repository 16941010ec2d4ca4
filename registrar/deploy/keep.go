package deploy

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/registrar/registry"
)

// patience is how many probes in a row may fail before that is told of an
// instance that was healthy.
const patience = 3

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
