package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgpatron/pgpatron/broker/postgres"
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
	// stuck says that nothing is seen to happen: long waiting is of no use.
	stuck bool
	// foreign says that this version does not know the step, and leaves it to one
	// that does.
	foreign bool
	// failure says that the step can not be done, and why.
	failure error
}

func waiting(format string, args ...any) outcome { return outcome{doing: fmt.Sprintf(format, args...)} }

var passed = outcome{passed: true}

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
	if _, refused := errors.AsType[postgres.Refusal](err); refused {
		return outcome{failure: err}
	}
	if err != nil {
		return waiting("%v", err)
	}
	return waiting("%s", doing)
}

// prove sees that a write through the public port works. Other passwords have nothing
// to do with whether a standby is there.
func (t turn) prove() outcome {
	cluster := t.cluster
	cluster.Synchronous = cluster.Synchronous && t.in.Operation.Type != state.Rotate
	return awaitJob(t.ask("write", func(ctx context.Context) error { return t.cfg.Database.ProveWrite(ctx, cluster) }))
}

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
