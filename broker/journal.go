package broker

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// The steps that stand in journals. An operation is at one of them until what
// it waits for has come; the same transaction that records the next step does
// what belongs to the passage, so a step is never done half.
//
//	provision:   nodes → write → (plan) → succeeded
//	             nodes, write, plan → release → failed
//	update:      plan → succeeded
//	             plan → another plan, to take back → failed
//	rotate:      plan → succeeded
//	             plan → another plan, to take back → failed
//	recreate:    empty → nodes → write → (plan) → succeeded
//	             nodes, write, plan → failed
//	deprovision: release → gone
//	move:        travel → succeeded, at the other site
//	             travel → another plan, to take back → failed
//	arrival:     travel → succeeded
//	             travel → release → gone
const (
	// stepNodes waits until every node runs and one of them leads.
	stepNodes = "nodes"
	// stepWrite waits until a write through the public port has worked, and in a
	// synchronous cluster has reached a standby.
	stepWrite = "write"
	// stepPlan takes the steps of the operation's own plan.
	stepPlan = "plan"
	// stepTravel takes those of a plan that concerns two sites. A broker that knows
	// nothing of moves leaves it alone: it would give up at their first step.
	stepTravel = "travel"
	// stepRelease waits until the registrars have removed every node.
	stepRelease = "release"
)

// Steps returns the names of all steps that an operation can be at, those of
// plans among them, if it needs no other site. Place returns which of them it is
// at.
func Steps() []string {
	names := []string{stepNodes, stepWrite, stepRelease, stepEmpty}
	for _, kind := range state.StepKinds {
		names = append(names, string(kind))
	}
	return names
}

// Place returns the name of the step that an operation is at, "" if it is over.
func Place(op state.Operation) string {
	if !op.Running() {
		return ""
	}
	switch op.Step {
	case stepPlan, stepTravel:
		step, _ := op.Current()
		return string(step.Kind)
	}
	return op.Step
}

// drive takes an operation one step further, if it can be.
func (d *driver) drive(ctx context.Context, in state.Instance) []state.Group {
	if !known(in.Operation.Type) {
		d.log.Error("operation is of a type that this version does not know", "instance", in.InstanceID, "type", in.Operation.Type)
		return nil
	}
	switch in.Operation.Step {
	case stepNodes:
		return d.awaitNodes(in)
	case stepWrite:
		return d.proveWrite(ctx, in)
	case stepPlan, stepTravel:
		return d.advance(ctx, in)
	case stepRelease:
		// Whatever else was being done is no longer wanted.
		d.jobs.drop(instanceJob(in.InstanceID))
		return d.awaitRelease(in)
	case stepEmpty:
		return d.awaitEmpty(in)
	}
	d.log.Error("journal is at a step that this version does not know", "instance", in.InstanceID, "step", in.Operation.Step)
	return nil
}

// known reports whether this version knows what an operation of a type is. Any
// other is left to the brokers that do.
func known(kind state.OperationType) bool {
	switch kind {
	case state.Provision, state.Deprovision, state.Update, state.Recreate, state.Move, state.Arrival, state.Rotate:
		return true
	}
	return false
}

// record returns the group that changes the journal of in, and whatever else
// belongs to the change. It is committed only by the elected driver, and only
// while the operation is where it was.
func (d *driver) record(in state.Instance, name string, change func(tx *state.Tx, in *state.Instance) error) []state.Group {
	var description string
	done := func(err error) {
		if err == nil {
			d.log.Info(name, "instance", in.InstanceID, "operation", in.Operation.ID,
				"description", description, "took", time.Since(in.Operation.Started))
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
		if !exists || !samePlace(now.Operation, in.Operation) {
			return state.ErrSkip
		}
		before := now.Operation
		if err := change(tx, &now); err != nil {
			return err
		}
		description = now.Operation.Description
		if _, kept := tx.Get(key); kept && !reflect.DeepEqual(now.Operation, before) {
			now.Operation.Updated = time.Now().UTC()
			tx.PutJSON(key, now)
		}
		return nil
	}}}
}

// samePlace reports whether an operation is where it was.
func samePlace(now, before state.Operation) bool {
	return now.ID == before.ID && now.Step == before.Step && now.Done == before.Done && now.Failure == before.Failure
}

// tell records how far an operation is, if that is news.
func (d *driver) tell(in state.Instance, description string) []state.Group {
	if in.Operation.Description == description {
		return nil
	}
	return d.record(in, "operation progresses", func(_ *state.Tx, now *state.Instance) error {
		now.Operation.Description = description
		return nil
	})
}

// fail turns an operation that made an instance into one that takes it back.
func (d *driver) fail(in state.Instance, why string) []state.Group {
	d.log.Error("instance can not be made, taking it back", "instance", in.InstanceID, "why", why)
	return d.record(in, "give up", func(tx *state.Tx, now *state.Instance) error {
		return discard(tx, now, why)
	})
}

// discard has everything of an instance that could not be made removed. One that
// was made anew keeps its port, and what there is of it.
func discard(tx *state.Tx, in *state.Instance, why string) error {
	in.Operation.Failure = why
	if in.Operation.Type == state.Recreate {
		failed(&in.Operation, false)
		return nil
	}
	in.Operation.Step = stepRelease
	in.Operation.Description = "taking back what was made: " + why
	return markRemoved(tx, in.InstanceID)
}
