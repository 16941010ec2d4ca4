package broker

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/broker/internal/words"
	"github.com/pgpatron/pgpatron/broker/planner"
	"github.com/pgpatron/pgpatron/state"
)

// advance takes an operation's plan further.
func (d *driver) advance(ctx context.Context, in state.Instance) []state.Group {
	step, more := in.Operation.Current()
	if !more {
		return d.conclude(in)
	}
	cluster, ok := d.tables.clusters.Get(in.InstanceID)
	if !ok {
		return d.giveUp(in, "the cluster's record is gone")
	}
	out := turn{driver: d, ctx: ctx, in: in, cluster: cluster.Value, step: step}.take()
	switch {
	case out.foreign:
		d.log.Error("plan has a step that this version does not know", "instance", in.InstanceID, "step", step.Kind)
		return nil
	case out.failure != nil && !onlyForward(in.Operation):
		return d.giveUp(in, fmt.Sprintf("%s: %v", step.Text, out.failure))
	case out.passed || out.apply != nil:
		return d.pass(in, step, out)
	case onlyForward(in.Operation):
		return d.tell(in, stepText(in.Operation, cmp.Or(out.doing, text(out.failure))))
	}
	if time.Since(in.Operation.Started) > d.cfg.longestUpdate() && in.Operation.Failure == "" {
		return d.giveUp(in, fmt.Sprintf("%s: not done when %v were over: %s", step.Text, d.cfg.longestUpdate(), out.doing))
	}
	if limit := d.limit(step.Kind, out.stuck); time.Since(in.Operation.StepSince) > limit {
		return d.giveUp(in, fmt.Sprintf("%s: not done after %v: %s", step.Text, limit, out.doing))
	}
	return d.tell(in, stepText(in.Operation, out.doing))
}

// take does what the step's kind asks for.
func (t turn) take() outcome {
	switch t.step.Kind {
	case state.AddNode:
		return t.addNode()
	case state.AwaitNode:
		return t.awaitNode()
	case state.ReshapeNode:
		return t.reshapeNode()
	case state.RestartNode:
		return t.restartNode()
	case state.HandOver:
		return t.handOver()
	case state.RemoveNode:
		return t.removeNode()
	case state.ReleaseNode:
		return t.releaseNode()
	case state.Configure:
		return t.configure()
	case state.ChangeExtensions:
		return t.changeExtensions()
	case state.ProveWrite:
		return t.prove()
	case state.OfferPasswords:
		return t.offerPasswords()
	case state.AdoptPasswords:
		return t.adoptPasswords()
	case state.RetirePasswords:
		return t.retirePasswords()
	}
	return t.travel()
}

// travel does what a step asks for by which an instance moves to another site.
func (t turn) travel() outcome {
	switch t.step.Kind {
	case state.AskSite:
		return t.askSite()
	case state.OfferCopy:
		return t.offerCopy()
	case state.FreezeHome:
		return t.freezeHome()
	case state.DecideMove:
		return t.decideMove()
	case state.AwaitArrival:
		return t.awaitArrival()
	case state.ClearHome:
		return t.clearHome()
	case state.ThawHome:
		return t.thawHome()
	case state.AwaitCopy:
		return t.awaitCopy()
	case state.CatchUp:
		return t.catchUp()
	case state.PromoteCopy:
		return t.promoteCopy()
	case state.OpenCopy:
		return t.openCopy()
	}
	return outcome{foreign: true}
}

// onlyForward reports whether an operation is at a step that is tried until it
// works: there is no way back, or the step is the way back. Where an instance
// comes to, it is the home that gives up.
func onlyForward(op state.Operation) bool {
	step, _ := op.Current()
	switch step.Kind {
	case state.AwaitArrival, state.ClearHome, state.ThawHome, state.AdoptPasswords, state.RetirePasswords:
		return true
	}
	return op.Type == state.Arrival && step.Kind != state.AwaitCopy
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// shortLimit bounds the steps that copy no data, and those of which nothing is
// seen.
const shortLimit = 3 * time.Minute

// longestUpdate bounds an update as a whole: platforms stop asking some time.
func (c Config) longestUpdate() time.Duration { return catalog.MostNodes * c.UpdateTimeout }

// limit is how long a step may take.
func (d *driver) limit(kind state.StepKind, stuck bool) time.Duration {
	switch kind {
	case state.AwaitNode, state.ReshapeNode:
		if !stuck {
			return d.cfg.UpdateTimeout
		}
	case state.OfferCopy, state.AwaitCopy:
		return d.cfg.UpdateTimeout
	case state.FreezeHome, state.DecideMove:
		return freezeLimit
	}
	return min(shortLimit, d.cfg.UpdateTimeout)
}

// stepText tells which step an operation is at, and what it waits for.
func stepText(op state.Operation, doing string) string {
	step, ok := op.Current()
	if !ok {
		return "all steps are done"
	}
	text := fmt.Sprintf("step %d of %d: %s", op.Done+1, len(op.Plan), step.Text)
	if doing != "" {
		text += ": " + doing
	}
	if op.Failure != "" {
		text += " (taking back, because: " + op.Failure + ")"
	}
	return text
}

// pass records what a turn came to.
func (d *driver) pass(in state.Instance, step state.Step, out outcome) []state.Group {
	name := "prepare: " + step.Text
	if out.passed {
		name = "done: " + step.Text
	}
	return d.record(in, name, func(tx *state.Tx, now *state.Instance) error {
		if err := d.change(tx, now.InstanceID, out.apply); err != nil {
			return err
		}
		if out.passed {
			next(now)
		}
		return nil
	})
}

// next goes on to the next step of a plan.
func next(in *state.Instance) {
	in.Operation.Done++
	in.Operation.StepSince = time.Now().UTC()
	in.Operation.Description = stepText(in.Operation, "")
}

// change applies what a step changes to the cluster's record.
func (d *driver) change(tx *state.Tx, id string, apply func(*state.Tx, *state.Cluster) error) error {
	if apply == nil {
		return nil
	}
	cluster, exists, err := state.Load(tx, state.ClusterKey(id), state.JSON[state.Cluster])
	if err != nil {
		return err
	}
	if !exists {
		return state.ErrSkip
	}
	if err := apply(tx, &cluster); err != nil {
		return err
	}
	tx.PutJSON(state.ClusterKey(id), cluster)
	return nil
}

// conclude ends an operation whose plan is done.
func (d *driver) conclude(in state.Instance) []state.Group {
	return d.record(in, "operation ends", func(tx *state.Tx, now *state.Instance) error {
		op := &now.Operation
		if op.Failure != "" {
			failed(op, true)
			return nil
		}
		switch op.Type {
		case state.Move:
			return d.departed(tx, now)
		case state.Arrival:
			return arrived(tx, now)
		}
		op.State = state.Succeeded
		if op.Change == nil {
			return d.change(tx, now.InstanceID, func(_ *state.Tx, cluster *state.Cluster) error {
				op.Description = fmt.Sprintf("usable at port %d", cluster.AllocatedPort)
				if op.Type == state.Rotate {
					op.Description += ", with new passwords for superuser, replication, admin and REST API"
				}
				return nil
			})
		}
		return d.change(tx, now.InstanceID, func(_ *state.Tx, cluster *state.Cluster) error {
			if err := d.tables.recount(tx, now.PlanID, op.Change.PlanID); err != nil {
				return err
			}
			change{*op.Change}.apply(d.cfg, now, cluster)
			nodes := len(planner.Staying(*cluster))
			op.Description = fmt.Sprintf("updated: %d %s at port %d", nodes, words.Plural(nodes, "node", "nodes"), cluster.AllocatedPort)
			return nil
		})
	})
}

// failed ends an operation that did not succeed. usable tells whether a write
// has worked since. What was wanted may be asked for again: a plan begins from
// what there is.
func failed(op *state.Operation, usable bool) {
	repeatable := true
	op.State, op.Description = state.Failed, op.Failure
	op.InstanceUsable, op.UpdateRepeatable = &usable, &repeatable
}
