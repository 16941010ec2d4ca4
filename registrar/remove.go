package registrar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

var (
	// errClaimed says that a record wants what was to be deleted.
	errClaimed = errors.New("a record wants it")
	// errNewest says that the node may have what no other node of a cluster has
	// that lives on.
	errNewest = errors.New("its data may be the newest of its cluster, because nobody else can lead: bring another node back")
)

// remove deletes a node's container, then its volume, and makes sure that both
// are gone. Right before each deletion the records are asked once more, and any
// doubt ends it: data that is deleted does not come back.
func (w *worker) remove(ctx context.Context, g goal) error {
	if g.want == wantUnclaimed {
		return w.clearUnclaimed(ctx, g)
	}
	if w.gone && !w.inventory.holds(w.node) {
		return nil
	}
	w.log.InfoContext(ctx, "removing node", "instance", g.instance)
	began := time.Now()
	name := containerName(w.node)
	c, here, err := w.docker.inspect(ctx, name)
	if err == nil && here {
		err = w.delete(ctx, g, "container", func() error { return w.dismiss(ctx, g, c) })
	}
	if err != nil {
		return err
	}
	_, here, err = w.docker.volume(ctx, name)
	if err == nil && here {
		err = w.delete(ctx, g, "volume", func() error { return w.bequeath(ctx, g) })
	}
	if err != nil {
		return err
	}
	if err := w.verifyGone(ctx, name); err != nil {
		return err
	}
	w.gone = true
	w.log.InfoContext(ctx, "node removed", "instance", g.instance, "took", time.Since(began))
	w.say(state.PhaseRemoved, "")
	return nil
}

// dismiss removes the container of a node that is to go. One that leaves a
// cluster which lives on is asked to stop first: Patroni of a synchronous standby
// has its leader choose another, and no commit waits for the one that goes. A
// leader goes on if a synchronous cluster has nobody to take its place.
func (w *worker) dismiss(ctx context.Context, g goal, c container) error {
	if g.livesOn() {
		if err := w.resign(ctx, g, c); err != nil {
			return err
		}
	}
	return w.docker.removeContainer(ctx, c.id)
}

// resign stops the node, unless it leads and nobody can take its place.
func (w *worker) resign(ctx context.Context, g goal, c container) error {
	h, err := w.heirs(ctx, g.instance)
	switch {
	case err != nil:
		return err
	case g.cluster.Synchronous && h.leader == w.node && len(h.sync.Standbys) == 0:
		return errNewest
	case !c.running:
		return nil
	}
	return w.docker.stop(ctx, c.id)
}

// bequeath deletes the volume, once another node leads a cluster that lives on:
// until then this may be the only copy of what was written last.
func (w *worker) bequeath(ctx context.Context, g goal) error {
	if g.livesOn() {
		h, err := w.heirs(ctx, g.instance)
		if err != nil {
			return err
		}
		if h.leader == "" || h.leader == w.node {
			return errNewest
		}
	}
	return w.docker.removeVolume(ctx, containerName(w.node))
}

// livesOn reports whether the node's cluster keeps other nodes.
func (g goal) livesOn() bool {
	return slices.ContainsFunc(g.cluster.Nodes, func(n state.Node) bool { return !n.Removed })
}

// clearUnclaimed removes a container that no record wants. Its volume goes with
// it only if the container never ran: nobody asked for data to be deleted, and
// records can be lost, as when etcd is restored from an old backup. A volume
// that is kept is found again when the record is back.
func (w *worker) clearUnclaimed(ctx context.Context, g goal) error {
	name := containerName(w.node)
	c, here, err := w.docker.inspect(ctx, name)
	if err == nil && here {
		w.log.WarnContext(ctx, "removing container that no record wants", "instance", g.instance, "container", name)
		err = w.delete(ctx, g, "container", func() error { return w.docker.removeContainer(ctx, c.id) })
	}
	if err == nil && here && c.startedAt.IsZero() {
		err = w.delete(ctx, g, "volume", func() error { return w.docker.removeVolume(ctx, name) })
	}
	if err != nil {
		return err
	}
	here, err = w.lookForVolume(ctx, name)
	if err != nil {
		return err
	}
	if here && !w.kept {
		w.kept = true
		w.log.ErrorContext(ctx, "keeping a volume that no record wants; restore its record, or remove it with docker volume rm",
			"instance", g.instance, "volume", name)
	}
	return nil
}

// delete deletes something of the node, if the records still want it gone.
func (w *worker) delete(ctx context.Context, g goal, what string, do func() error) error {
	if err := w.doomed(ctx, g.instance, w.node); err != nil {
		return fmt.Errorf("not removing %s of node %s: %w", what, w.node, err)
	}
	return do()
}

func (w *worker) verifyGone(ctx context.Context, name string) error {
	here, err := w.lookForVolume(ctx, name)
	if err != nil {
		return err
	}
	if _, container, _ := w.inventory.container(w.node); container || here {
		return fmt.Errorf("container or volume %s is still there", name)
	}
	return nil
}

// lookForVolume looks at the node's container and volume and reports whether
// the volume is there.
func (w *worker) lookForVolume(ctx context.Context, name string) (bool, error) {
	if err := look(ctx, w.docker, w.inventory, w.node); err != nil {
		return false, err
	}
	v, here, err := w.docker.volume(ctx, name)
	if err == nil {
		w.inventory.hasVolume(w.node, v, here)
	}
	return here, err
}
