package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// turn is one look at a step of a plan: it decides from the picture, and from
// what its job found out, what comes next. It keeps nothing.
type turn struct {
	*driver
	ctx     context.Context
	in      state.Instance
	cluster state.Cluster
	step    state.Step
}

// outcome is what a turn came to. The zero outcome waits.
type outcome struct {
	// doing tells what is waited for.
	doing string
	// passed says that the step is over.
	passed bool
	// apply is recorded together with the passage, or by itself. It may return
	// state.ErrSkip when things are no longer as the turn saw them.
	apply func(tx *state.Tx, cluster *state.Cluster) error
	// failure says that the step can not be done, and why.
	failure error
}

func waiting(format string, args ...any) outcome { return outcome{doing: fmt.Sprintf(format, args...)} }

var passed = outcome{passed: true}

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
	case out.failure != nil:
		return d.giveUp(in, fmt.Sprintf("%s: %v", step.Text, out.failure))
	case out.passed || out.apply != nil:
		return d.pass(in, step, out)
	case time.Since(in.Operation.StepSince) > d.limit(step.Kind):
		return d.giveUp(in, fmt.Sprintf("%s: not done after %v: %s", step.Text, d.limit(step.Kind), out.doing))
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
	}
	return outcome{failure: fmt.Errorf("this version knows no step %q", t.step.Kind)}
}

// shortLimit bounds the steps that copy no data.
const shortLimit = 3 * time.Minute

// limit is how long a step may take.
func (d *driver) limit(kind state.StepKind) time.Duration {
	switch kind {
	case state.AwaitNode, state.ReshapeNode:
		return d.cfg.UpdateTimeout
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
		op.State = state.Succeeded
		if op.Change == nil {
			return d.change(tx, now.InstanceID, func(_ *state.Tx, cluster *state.Cluster) error {
				op.Description = fmt.Sprintf("usable at port %d", cluster.AllocatedPort)
				return nil
			})
		}
		return d.change(tx, now.InstanceID, func(_ *state.Tx, cluster *state.Cluster) error {
			if err := d.tables.recount(tx, now.PlanID, op.Change.PlanID); err != nil {
				return err
			}
			change{*op.Change}.apply(now, cluster)
			nodes := len(cluster.Nodes)
			op.Description = fmt.Sprintf("updated: %d %s at port %d", nodes, plural(nodes, "node", "nodes"), cluster.AllocatedPort)
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

// ask runs a job of this step until it succeeds, and returns whether it has and
// how it failed last. What the picture says is looked up anew in each attempt.
func (t turn) ask(what string, work func(ctx context.Context) error) (bool, error) {
	op := t.in.Operation
	name := fmt.Sprintf("%s, step %d: %s, after %q", op.ID, op.Done, what, op.Failure)
	return t.jobs.ask(t.ctx, instanceJob(t.in.InstanceID), name, work)
}

// awaitJob is the outcome of a step that is over when its job is.
func awaitJob(done bool, err error) outcome {
	if done {
		return passed
	}
	return retrying("", err)
}

// retrying tells how a job failed last, or that trying again is of no use.
func retrying(doing string, err error) outcome {
	if _, lasting := errors.AsType[lastingError](err); lasting {
		return outcome{failure: err}
	}
	if err != nil {
		return waiting("%v", err)
	}
	return waiting("%s", doing)
}

// prove sees that a write through the public port works.
func (t turn) prove() outcome {
	return awaitJob(t.ask("write", func(ctx context.Context) error { return t.cfg.Database.ProveWrite(ctx, t.cluster) }))
}

// lastingError is one that no repetition mends.
type lastingError struct{ error }

// Unwrap returns what lasts.
func (e lastingError) Unwrap() error { return e.error }

// rest returns a client of the REST API of a member.
func (t turn) rest(node string) (*patroni.Client, error) {
	var apiURL string
	t.view(func() {
		m, _ := t.tables.members.Get(t.in.InstanceID, node)
		apiURL = m.Value.APIURL
	})
	if apiURL == "" {
		return nil, errors.New("the node is not a member of the cluster now")
	}
	return patroni.NewClient(apiURL, t.cluster.RESTCredentials, nil)
}

// leader returns who leads, by the latest picture. For jobs.
func (t turn) leader() (leader string) {
	t.view(func() { leader = t.leads() })
	return leader
}

// leads returns who leads, by the picture of this turn.
func (t turn) leads() string {
	leader, _ := t.tables.leaders.Get(t.in.InstanceID)
	return leader.Value
}
