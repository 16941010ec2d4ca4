package registrar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/state"
)

// create makes a node's volume, if it has none, and its container, and starts
// it. Each step finds what an earlier try has left.
func (w *worker) create(ctx context.Context, g goal) (time.Duration, error) {
	w.say(state.PhaseCreating, "")
	if err := w.needImage(ctx, g.spec.Image, state.PhaseCreating); err != nil {
		return 0, err
	}
	v, err := w.needVolume(ctx, g)
	if err != nil {
		return 0, err
	}
	_, err = w.docker.createContainer(ctx, w.cfg.spec(g, w.node, v.ports))
	if err != nil && !errors.Is(err, errExists) {
		return 0, err
	}
	if err := look(ctx, w.docker, w.inventory, w.node); err != nil {
		return 0, err
	}
	c, here, _ := w.inventory.container(w.node)
	if !here {
		return 0, fmt.Errorf("container %s exists and %w", containerName(w.node), errForeign)
	}
	if c.running || !c.startedAt.IsZero() {
		return 0, nil // it was there before: the next turn looks at it as it is
	}
	return 0, w.start(ctx, g, c.id)
}

// needImage sees to it that the host has the image. phase is the node's
// meanwhile.
func (w *worker) needImage(ctx context.Context, ref string, phase state.Phase) error {
	has, err := w.docker.hasImage(ctx, ref)
	if err != nil || has {
		return err
	}
	w.say(phase, "pulling image "+ref)
	if err := w.docker.pull(ctx, ref); err != nil {
		if ctx.Err() != nil || unreachable(err) {
			return err
		}
		w.log.WarnContext(ctx, "pulling image", "image", ref, "err", err)
		return fmt.Errorf("image %s is not on this host: build it with make image", ref)
	}
	return nil
}

// needVolume sees to it that the node has a volume, and with it its host ports.
func (w *worker) needVolume(ctx context.Context, g goal) (volume, error) {
	name := containerName(w.node)
	v, here, err := w.docker.volume(ctx, name)
	if err != nil {
		return volume{}, err
	}
	if here && !v.complete() {
		return volume{}, fmt.Errorf("volume %s does not say its host ports", name)
	}
	if !here {
		labels := func(ports hostPorts) map[string]string {
			return w.cfg.volumeLabels(g.cluster.InstanceID, w.node, ports)
		}
		if v, err = w.ports.volume(ctx, name, labels); err != nil {
			return volume{}, err
		}
	}
	w.inventory.hasVolume(w.node, v, true)
	return v, nil
}

// start gives the container its files and starts it.
func (w *worker) start(ctx context.Context, g goal, id string) error {
	content, err := w.cfg.nodeFile(g, w.node)
	if err != nil {
		return err
	}
	if err := w.docker.copyFile(ctx, id, patroni.NodeFile, content, patroni.NodeUID, patroni.NodeGID); err != nil {
		return err
	}
	if err := w.hand(ctx, g, id); err != nil {
		if w.had(id).passwords.Edition != g.cluster.LoginEdition {
			return err
		}
		w.log.WarnContext(ctx, "giving the node its certificate, it starts without", "err", err)
	}
	began := time.Now()
	if err := w.docker.start(ctx, id); err != nil {
		if portTaken(err) {
			return fmt.Errorf("host port %s is in use by something else: %w", w.portNames(ctx, id), err)
		}
		return fmt.Errorf("starting container: %w", err)
	}
	w.log.InfoContext(ctx, "container started", "container", id, "took", time.Since(began))
	return look(ctx, w.docker, w.inventory, w.node)
}

func (w *worker) portNames(ctx context.Context, id string) string {
	c, _, err := w.docker.inspect(ctx, id)
	if err != nil {
		return "of the node"
	}
	return portList(c.addrs)
}

// revive starts a container that does not run. If it ran before, it is dead:
// first its leadership is ended, then its cluster is given time to go on
// without it.
func (w *worker) revive(ctx context.Context, g goal, c container) (time.Duration, error) {
	d, died := c.death()
	if !died {
		w.say(state.PhaseCreating, "")
	}
	if died && !w.settled.is(d.run) {
		w.say(state.PhaseStopped, fmt.Sprintf("exit code %d", c.exitCode))
		v, err := w.fencer.fence(ctx, g.cluster.InstanceID, w.node, d)
		if err != nil {
			return 0, err
		}
		if v == alive {
			return 0, look(ctx, w.docker, w.inventory, w.node)
		}
		w.picture.awaitSuccessor(ctx, g.cluster, w.node, d, v)
		w.settled = d.run
		w.countCrash(c)
	}
	if superseded, err := w.supersede(ctx, g, c); err != nil || superseded {
		return 0, err
	}
	if rest := time.Until(w.rested); rest > 0 {
		w.say(state.PhaseStopped, fmt.Sprintf("exit code %d, %d times soon after its start; next start at %s",
			c.exitCode, w.crashes, w.rested.UTC().Format(time.TimeOnly)))
		return rest, nil
	}
	return 0, w.start(ctx, g, c.id)
}

// countCrash decides how long a node rests that died. The first death costs
// nothing. The rest is counted from now on: by Docker's word of when it died, it
// would be as long as the clock has jumped since.
func (w *worker) countCrash(c container) {
	if c.lived() >= youth {
		w.crashes = 0
		return
	}
	w.crashes++
	if w.crashes > 1 {
		w.rested = time.Now().Add(staff.Backoff(crashBase, crashLimit, w.crashes-1))
	}
}

// clear removes a container that does not run. The node's data is in its
// volume.
func (w *worker) clear(ctx context.Context, c container) error {
	if err := w.docker.removeContainer(ctx, c.id); err != nil {
		return err
	}
	return look(ctx, w.docker, w.inventory, w.node)
}
