package broker

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/pivotal-cf/brokerapi/v10/domain"
	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

// Change updates an instance as its user would, or with dryRun returns the
// steps that it would take.
func (o operator) Change(ctx context.Context, id string, change admin.Change, dryRun bool) (admin.Operation, error) {
	in, err := o.known(ctx, id)
	if err != nil {
		return admin.Operation{}, err
	}
	details := domain.UpdateDetails{ServiceID: in.ServiceID, PlanID: change.PlanID, RawParameters: change.Parameters}
	if change.Version != "" {
		details.MaintenanceInfo = &domain.MaintenanceInfo{Version: change.Version}
	}
	if dryRun {
		steps, err := o.PlanUpdate(ctx, url.PathEscape(id), details)
		now := time.Now().UTC()
		return admin.Operation{
			InstanceID: id, Type: string(state.Update), State: "planned", Started: now, Updated: now,
			Description: "nothing has been done", Steps: stepViews(steps),
		}, told(err)
	}
	if _, err := o.Update(ctx, url.PathEscape(id), details, true); err != nil {
		return admin.Operation{}, told(err)
	}
	return o.operation(ctx, id)
}

// told turns an answer to the platform into one to the operator.
func told(err error) error {
	if refused, ok := errors.AsType[*apiresponses.FailureResponse](err); ok {
		return admin.Errorf(refused.ValidatedStatusCode(nil), "%s", refused.Error())
	}
	return err
}

// known reads an instance that must exist.
func (o operator) known(ctx context.Context, id string) (state.Instance, error) {
	in, exists, err := o.instance(ctx, url.PathEscape(id))
	if err == nil && !exists {
		err = admin.NotFound("instance", id)
	}
	return in, told(err)
}

// operation shows the operation of an instance as etcd has it now.
func (o operator) operation(ctx context.Context, id string) (admin.Operation, error) {
	in, err := o.known(ctx, id)
	return operationView(in), err
}

// alter changes the record of an instance.
func (o operator) alter(ctx context.Context, id, name string, change func(tx *state.Tx, in *state.Instance) error) (admin.Operation, error) {
	err := o.engine.Do(ctx, state.Group{Name: name, Apply: o.tables.format.Admitted(func(tx *state.Tx) error {
		in, exists, err := state.Load(tx, state.InstanceKey(id), state.JSON[state.Instance])
		if err != nil {
			return err
		}
		if !exists {
			return admin.NotFound("instance", id)
		}
		if err := change(tx, &in); err != nil {
			return err
		}
		if _, kept := tx.Get(state.InstanceKey(id)); kept {
			in.Operation.Updated = time.Now().UTC()
			tx.PutJSON(state.InstanceKey(id), in)
		}
		return nil
	})})
	if err != nil {
		return admin.Operation{}, told(err)
	}
	op, err := o.operation(ctx, id)
	if gone, ok := errors.AsType[*admin.Error](err); ok && gone.Status == http.StatusNotFound {
		return admin.Operation{InstanceID: id, State: "gone", Description: "the instance is gone"}, nil
	}
	return op, err
}

// Recreate makes new, empty nodes for an instance, whatever became of the old
// ones.
func (o operator) Recreate(ctx context.Context, id string) (admin.Operation, error) {
	return o.alter(ctx, id, "recreate", func(tx *state.Tx, in *state.Instance) error {
		if in.Operation.Running() {
			return admin.Errorf(http.StatusConflict, "instance %q is busy: %s; wait, or abandon the operation", id, in.Operation.Description)
		}
		if _, made := tx.Get(state.ClusterKey(id)); !made {
			return admin.Errorf(http.StatusConflict, "instance %q has no cluster and no port to keep: delete it", id)
		}
		in.Begin(newOperation(state.Recreate, stepEmpty, "removing the nodes that there were"))
		return markRemoved(tx, id)
	})
}

// Resume has a failed update tried again: its plan begins from what there is.
func (o operator) Resume(ctx context.Context, id string) (admin.Operation, error) {
	in, err := o.known(ctx, id)
	if err != nil {
		return admin.Operation{}, err
	}
	op := in.Operation
	switch {
	case op.Running():
		return admin.Operation{}, admin.Errorf(http.StatusConflict, "the operation is under way: %s", op.Description)
	case op.State != state.Failed:
		return admin.Operation{}, admin.Errorf(http.StatusConflict, "the last operation has succeeded")
	case op.Type == state.Recreate:
		return o.Recreate(ctx, id)
	case op.Type == state.Move:
		return o.Move(ctx, id, op.Site)
	case op.Type == state.Rotate:
		return o.Rotate(ctx, id)
	case op.Change == nil:
		return admin.Operation{}, admin.Errorf(http.StatusConflict, "%s can not be resumed: delete the instance and order it again", op.Type)
	}
	// What an update asked for is recorded in the same words.
	var request admin.Change
	if err := json.Unmarshal(op.Change.Request, &request); err != nil {
		return admin.Operation{}, err
	}
	return o.Change(ctx, id, request, false)
}

// Abandon ends an operation. What it has made is taken back, as after a failure;
// asked for again meanwhile, it leaves everything as it is. Where nothing is left
// to do but to remove nodes, it forgets those of which no registrar answers.
func (o operator) Abandon(ctx context.Context, id string) (admin.Operation, error) {
	return o.alter(ctx, id, "abandon", func(tx *state.Tx, in *state.Instance) error {
		const why = "abandoned by an operator"
		op := &in.Operation
		switch {
		case !op.Running():
			return admin.Errorf(http.StatusConflict, "no operation is under way")
		case !known(op.Type):
			return admin.Errorf(http.StatusConflict, "the operation is of a type that this version does not know: %s", op.Type)
		case clearing(*op):
			return o.forgetUnreachable(tx, in)
		case op.Type == state.Provision:
			return discard(tx, in, why)
		case op.Type == state.Arrival:
			return admin.Errorf(http.StatusConflict, "the instance comes from %s: abandon its move there", op.Site)
		case op.Type == state.Move && op.Failure != "":
			return admin.Errorf(http.StatusConflict, "the move is being taken back: %s", op.Description)
		case op.Type == state.Move:
			if err := o.driver.withdraw(tx, in, why); err != nil {
				return admin.Errorf(http.StatusConflict, "%s", err.Error())
			}
			return nil
		case op.Failure != "" || op.Type == state.Recreate || unfinished(*op):
			op.Failure = why + ", at: " + op.Description
			failed(op, op.Type == state.Update || op.Type == state.Rotate)
			return nil
		}
		cluster, _, err := state.Load(tx, state.ClusterKey(id), state.JSON[state.Cluster])
		if err == nil {
			takeBack(op, cluster, why)
		}
		return err
	})
}

// clearing reports whether an operation only waits until nodes are removed.
func clearing(op state.Operation) bool {
	switch Place(op) {
	case stepRelease, string(state.ClearHome):
		return true
	}
	return false
}

// forgetUnreachable forgets the nodes on backends whose registrar is silent.
func (o operator) forgetUnreachable(tx *state.Tx, in *state.Instance) error {
	cluster, exists, err := state.Load(tx, state.ClusterKey(in.InstanceID), state.JSON[state.Cluster])
	if err != nil || !exists {
		return err
	}
	var reachable []state.Node
	for _, n := range cluster.Nodes {
		if _, registered := o.tables.backends.Get(n.BackendID); registered {
			reachable = append(reachable, n)
			continue
		}
		forgetSwitches(tx, in.InstanceID, n)
	}
	if len(reachable) == len(cluster.Nodes) {
		return admin.Errorf(http.StatusConflict, "the registrars of all nodes answer: %s", in.Operation.Description)
	}
	cluster.Nodes = reachable
	tx.PutJSON(state.ClusterKey(in.InstanceID), cluster)
	return nil
}
