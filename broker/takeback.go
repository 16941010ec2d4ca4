package broker

import (
	"slices"
	"time"

	"github.com/pgpatron/pgpatron/broker/planner"
	"github.com/pgpatron/pgpatron/state"
)

// giveUp ends a plan that can not be carried out. What made an instance is taken
// back as a whole; an update takes back the nodes that it has added in vain.
// What can not be taken back either is left: what counts is that a write works.
func (d *driver) giveUp(in state.Instance, why string) []state.Group {
	switch in.Operation.Type {
	case state.Provision, state.Recreate, state.Arrival:
		return d.fail(in, why)
	case state.Update, state.Move, state.Rotate:
		return d.turnBack(in, why)
	}
	d.log.Error("operation is not one that can be given up", "instance", in.InstanceID, "type", in.Operation.Type, "why", why)
	return nil
}

// turnBack takes an update, a move or new passwords back, or leaves out what can not be.
func (d *driver) turnBack(in state.Instance, why string) []state.Group {
	switch {
	case in.Operation.Failure != "":
		return d.skip(in, why)
	case in.Operation.Type == state.Move:
		return d.giveUpMove(in, why)
	}
	d.log.Error("operation can not be carried out, taking it back", "type", in.Operation.Type, "instance", in.InstanceID, "operation", in.Operation.ID, "why", why)
	return d.record(in, "give up", func(tx *state.Tx, now *state.Instance) error {
		cluster, _, err := state.Load(tx, state.ClusterKey(now.InstanceID), state.JSON[state.Cluster])
		if err != nil {
			return err
		}
		takeBack(&now.Operation, cluster, why)
		return nil
	})
}

// skip leaves a step out that takes something back and can not be done.
func (d *driver) skip(in state.Instance, why string) []state.Group {
	d.log.Error("a step can not be taken back", "instance", in.InstanceID, "operation", in.Operation.ID, "why", why)
	return d.record(in, "leave out", func(_ *state.Tx, now *state.Instance) error {
		if step, _ := now.Operation.Current(); step.Kind == state.ProveWrite {
			failed(&now.Operation, false)
			return nil
		}
		next(now)
		return nil
	})
}

// takeBack replaces what is left of a plan by what leaves the instance
// usable.
func takeBack(op *state.Operation, cluster state.Cluster, why string) {
	back := planner.TakeBack(*op, cluster)
	op.Failure = why
	op.Plan = append(slices.Clone(op.Plan[:op.Done]), back...)
	op.StepSince = time.Now().UTC()
	op.Description = stepText(*op, "")
}
