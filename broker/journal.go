package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// The steps that stand in journals. An operation is at one of them until what
// it waits for has come; the same transaction that records the next step does
// what belongs to the passage, so a step is never done half.
//
//	provision:   nodes → write → succeeded
//	             nodes, write → release → failed
//	deprovision: release → gone
const (
	// stepNodes waits until every node runs and one of them leads.
	stepNodes = "nodes"
	// stepWrite waits until a write through the public port has worked, and in a
	// synchronous cluster has reached a standby.
	stepWrite = "write"
	// stepRelease waits until the registrars have removed every node.
	stepRelease = "release"
)

// drive takes an operation one step further, if it can be.
func (d *driver) drive(ctx context.Context, in state.Instance) []state.Group {
	switch in.Operation.Step {
	case stepNodes:
		return d.awaitNodes(in)
	case stepWrite:
		return d.proveWrite(ctx, in)
	case stepRelease:
		return d.awaitRelease(in)
	}
	d.log.Error("journal is at a step that this version does not know", "instance", in.InstanceID, "step", in.Operation.Step)
	return nil
}

// record returns the group that changes the journal of in, and whatever else
// belongs to the change. It is committed only by the elected driver, and only
// while the operation is where it was.
func (d *driver) record(in state.Instance, name string, change func(tx *state.Tx, in *state.Instance) error) []state.Group {
	done := func(err error) {
		if err == nil {
			d.log.Info(name, "instance", in.InstanceID, "operation", in.Operation.ID, "since", time.Since(in.Operation.Started))
		}
	}
	return []state.Group{{Name: name, Done: done, Apply: func(tx *state.Tx) error {
		if err := d.election.Guard(tx); err != nil {
			return errors.Join(state.ErrSkip, err)
		}
		key := state.InstanceKey(in.InstanceID)
		now, exists, err := state.Load(tx, key, state.JSON[state.Instance])
		if err != nil {
			return err
		}
		if !exists || now.Operation.ID != in.Operation.ID || now.Operation.Step != in.Operation.Step {
			return state.ErrSkip
		}
		before := now.Operation
		if err := change(tx, &now); err != nil {
			return err
		}
		if _, kept := tx.Get(key); kept && now.Operation != before {
			now.Operation.Updated = time.Now().UTC()
			tx.PutJSON(key, now)
		}
		return nil
	}}}
}

// tell records how far an operation is, if that is news.
func (d *driver) tell(in state.Instance, description string) []state.Group {
	if in.Operation.Description == description {
		return nil
	}
	return d.record(in, "tell progress", func(_ *state.Tx, now *state.Instance) error {
		now.Operation.Description = description
		return nil
	})
}

// fail turns an operation that made an instance into one that takes it back.
func (d *driver) fail(in state.Instance, why string) []state.Group {
	d.log.Error("instance can not be made, taking it back", "instance", in.InstanceID, "why", why)
	return d.record(in, "give up", func(tx *state.Tx, now *state.Instance) error {
		now.Operation.Failure = why
		now.Operation.Step = stepRelease
		now.Operation.Description = "taking back what was made: " + why
		return markRemoved(tx, now.InstanceID)
	})
}

// overdue reports whether the instance should have become usable by now.
func (d *driver) overdue(in state.Instance) bool {
	return time.Since(in.Operation.Started) > d.cfg.ProvisionTimeout
}

func (d *driver) awaitNodes(in state.Instance) []state.Group {
	cluster, ok := d.tables.clusters.Get(in.InstanceID)
	if !ok {
		return d.fail(in, "the cluster's record is gone")
	}
	if groups := d.avoidBusyPort(in, cluster.Value); groups != nil {
		return groups
	}
	progress, ready := d.tables.progress(cluster.Value)
	switch {
	case ready:
		return d.record(in, "nodes run", func(_ *state.Tx, now *state.Instance) error {
			now.Operation.Step = stepWrite
			now.Operation.Description = writeDescription(cluster.Value)
			return nil
		})
	case d.overdue(in):
		return d.fail(in, fmt.Sprintf("not ready after %v: %s", d.cfg.ProvisionTimeout, progress))
	}
	return d.tell(in, progress)
}

func writeDescription(c state.Cluster) string {
	return fmt.Sprintf("waiting for a write through port %d", c.AllocatedPort)
}

// avoidBusyPort gives an instance that nobody has been told the port of
// another one, if a router found that something else uses it.
func (d *driver) avoidBusyPort(in state.Instance, cluster state.Cluster) []state.Group {
	for u := range d.tables.unbound.Under(strconv.Itoa(cluster.AllocatedPort)) {
		why := fmt.Sprintf("in use on router %s: %s", u.Params[1], u.Value)
		d.log.Warn("public port is in use, taking another", "instance", in.InstanceID, "port", cluster.AllocatedPort, "why", why)
		return d.record(in, "take another port", func(tx *state.Tx, _ *state.Instance) error {
			now, exists, err := state.Load(tx, state.ClusterKey(in.InstanceID), state.JSON[state.Cluster])
			if err != nil {
				return err
			}
			if !exists || now.AllocatedPort != cluster.AllocatedPort {
				return state.ErrSkip
			}
			if now.AllocatedPort, err = d.cfg.Ports.Replace(tx, in.InstanceID, why); err != nil {
				return err
			}
			tx.PutJSON(state.ClusterKey(in.InstanceID), now)
			return nil
		})
	}
	return nil
}

// progress tells in words how far a cluster's nodes are, and whether they are
// all there.
func (t *tables) progress(cluster state.Cluster) (string, bool) {
	running := 0
	var trouble []string
	for _, n := range cluster.Nodes {
		if m, ok := t.members.Get(cluster.InstanceID, n.NodeID); ok && m.Value.IsRunning() {
			running++
			continue
		}
		if s, ok := t.nodes.Get(n.NodeID); ok && s.Value.Phase == state.PhaseFailed && !slices.Contains(trouble, s.Value.Details) {
			trouble = append(trouble, s.Value.Details)
		}
	}
	text := fmt.Sprintf("%d of %d nodes running", running, len(cluster.Nodes))
	if len(trouble) > 0 {
		return text + ": " + strings.Join(trouble, "; "), false
	}
	if running < len(cluster.Nodes) {
		return text, false
	}
	if _, led := t.leaders.Get(cluster.InstanceID); !led {
		return text + ", no leader yet", false
	}
	return text, true
}

func (d *driver) proveWrite(ctx context.Context, in state.Instance) []state.Group {
	cluster, ok := d.tables.clusters.Get(in.InstanceID)
	if !ok {
		return d.fail(in, "the cluster's record is gone")
	}
	if groups := d.avoidBusyPort(in, cluster.Value); groups != nil {
		return groups
	}
	what := fmt.Sprintf("write for %s through %d", in.Operation.ID, cluster.Value.AllocatedPort)
	done, err := d.jobs.ask(ctx, instanceJob(in.InstanceID), what, func(ctx context.Context) error {
		return d.cfg.Database.ProveWrite(ctx, cluster.Value)
	})
	switch {
	case done:
		return d.record(in, "instance is usable", func(_ *state.Tx, now *state.Instance) error {
			now.Operation.State = state.Succeeded
			now.Operation.Description = fmt.Sprintf("usable at port %d", cluster.Value.AllocatedPort)
			return nil
		})
	case d.overdue(in):
		return d.fail(in, fmt.Sprintf("no write through port %d worked within %v: %v", cluster.Value.AllocatedPort, d.cfg.ProvisionTimeout, err))
	}
	return d.tell(in, writeDescription(cluster.Value))
}

func (d *driver) awaitRelease(in state.Instance) []state.Group {
	removed, waiting := 0, ""
	cluster, ok := d.tables.clusters.Get(in.InstanceID)
	for _, n := range cluster.Value.Nodes {
		if s, ok := d.tables.nodes.Get(n.NodeID); ok && s.Value.Phase == state.PhaseRemoved {
			removed++
			continue
		}
		if _, alive := d.tables.backends.Get(n.BackendID); !alive {
			waiting = fmt.Sprintf(", waiting for the registrar of backend %s", n.BackendID)
		}
	}
	if !ok || removed == len(cluster.Value.Nodes) {
		return d.record(in, "forget the cluster", d.forget)
	}
	return d.tell(in, fmt.Sprintf("%d of %d nodes removed%s", removed, len(cluster.Value.Nodes), waiting))
}

// forget removes every key of a cluster whose nodes are gone. The instance's
// own record stays after a failure, to tell why.
func (d *driver) forget(tx *state.Tx, in *state.Instance) error {
	if err := d.cfg.Ports.Release(tx, in.InstanceID); err != nil {
		return err
	}
	tx.DeletePrefix(state.ClusterPrefix(in.InstanceID))
	tx.DeletePrefix(state.InstanceKey(in.InstanceID) + "/")
	if in.Operation.Type == state.Deprovision {
		tx.Delete(state.InstanceKey(in.InstanceID))
		return nil
	}
	in.Operation.State = state.Failed
	in.Operation.Description = in.Operation.Failure
	return nil
}

// driveBinding makes a binding's login, or ends it.
func (d *driver) driveBinding(ctx context.Context, b state.Binding) []state.Group {
	cluster, ok := d.tables.clusters.Get(b.InstanceID)
	if !ok {
		return nil
	}
	key := state.BindingKey(b.InstanceID, b.BindingID)
	id := bindingJob(bindingID{b.InstanceID, b.BindingID})
	done, _ := d.jobs.ask(ctx, id, string(b.State)+" "+b.Role, func(ctx context.Context) error {
		if b.State == state.BindingDeleting {
			return d.cfg.Database.DropLogin(ctx, cluster.Value, b.Role)
		}
		password, err := d.cfg.SealKey.open(b.Sealed, key)
		if err != nil {
			return err
		}
		return d.cfg.Database.CreateLogin(ctx, cluster.Value, state.Credentials{Username: b.Role, Password: password})
	})
	if !done {
		return nil
	}
	return d.recordBinding(b, key)
}

// recordBinding records that what a binding's state asks for is done.
func (d *driver) recordBinding(b state.Binding, key string) []state.Group {
	return []state.Group{{Name: "login is " + string(b.State), Apply: func(tx *state.Tx) error {
		if err := d.election.Guard(tx); err != nil {
			return errors.Join(state.ErrSkip, err)
		}
		now, exists, err := state.Load(tx, key, state.JSON[state.Binding])
		if err != nil {
			return err
		}
		if !exists || now.State != b.State || now.Role != b.Role {
			return state.ErrSkip
		}
		if b.State == state.BindingDeleting {
			tx.Delete(key)
			return nil
		}
		now.State = state.BindingReady
		tx.PutJSON(key, now)
		return nil
	}}}
}
