package broker

import (
	"context"
	"time"

	"github.com/pivotal-cf/brokerapi/v10/domain"
	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"

	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/broker/planner"
	"github.com/pgpatron/pgpatron/state"
)

// Update records what is to become of an instance and the steps that lead
// there, in one transaction; the elected broker takes them. What needs no step
// is done when it returns.
func (b *Broker) Update(ctx context.Context, instanceID string, details domain.UpdateDetails, asyncAllowed bool) (domain.UpdateServiceSpec, error) {
	spec, err := b.update(ctx, instanceID, details, asyncAllowed)
	return spec, b.translate(ctx, "update", err)
}

func (b *Broker) update(ctx context.Context, segment string, details domain.UpdateDetails, asyncAllowed bool) (domain.UpdateServiceSpec, error) {
	var spec domain.UpdateServiceSpec
	err := b.admitUpdate(ctx, segment, details, func(tx *state.Tx, u *update) error {
		spec = domain.UpdateServiceSpec{}
		switch {
		case u.running:
			spec.IsAsync, spec.OperationData = true, u.in.Operation.ID
			return nil
		case len(u.steps) > 0 && !asyncAllowed:
			return apiresponses.ErrAsyncRequired
		case len(u.steps) > 0:
			if err := b.readOnlyPort(tx, u); err != nil {
				return err
			}
			spec.IsAsync, spec.OperationData = true, u.begin()
		default:
			if err := b.tables.recount(tx, u.in.PlanID, u.change.PlanID); err != nil {
				return err
			}
			u.change.apply(b.cfg, &u.in, &u.cluster)
			tx.PutJSON(state.ClusterKey(u.in.InstanceID), u.cluster)
		}
		if len(details.RawContext) > 0 {
			u.in.Context = details.RawContext
		}
		tx.PutJSON(state.InstanceKey(u.in.InstanceID), u.in)
		return nil
	})
	return spec, err
}

// readOnlyPort gives an instance that gets its first replica a port for reading,
// where instances have one.
func (b *Broker) readOnlyPort(tx *state.Tx, u *update) (err error) {
	if !b.cfg.ReadOnlyPorts || u.want.Nodes == 1 || u.cluster.ReadOnlyPort != 0 {
		return nil
	}
	u.cluster.ReadOnlyPort, err = b.cfg.Ports.AllocateReadOnly(tx, u.in.InstanceID)
	tx.PutJSON(state.ClusterKey(u.in.InstanceID), u.cluster)
	return err
}

// PlanUpdate returns the steps that an update would take now, and does nothing.
// Its errors are answers, as Update's are.
func (b *Broker) PlanUpdate(ctx context.Context, instanceID string, details domain.UpdateDetails) ([]state.Step, error) {
	var steps []state.Step
	err := b.admitUpdate(ctx, instanceID, details, func(_ *state.Tx, u *update) error {
		if u.running {
			return osb.ErrConcurrency
		}
		steps = u.steps
		return nil
	})
	return steps, b.translate(ctx, "planning an update", err)
}

// update is one request to change an instance, as far as it has been understood.
type update struct {
	in      state.Instance
	cluster state.Cluster
	want    planner.Target
	change  change
	steps   []state.Step
	// running says that the instance's operation is this very update.
	running bool
}

// admitUpdate finds out what a request asks for and hands that to decide, in a
// transaction that depends on all that was looked at.
func (b *Broker) admitUpdate(ctx context.Context, segment string, details domain.UpdateDetails, decide func(tx *state.Tx, u *update) error) error {
	id, err := osb.ParseID("instance_id", segment)
	if err != nil {
		return err
	}
	return b.decide(ctx, "update", func(tx *state.Tx) error {
		u := &update{}
		if err := b.understand(tx, u, id, details); err != nil {
			return err
		}
		return decide(tx, u)
	})
}

// begin opens the journal of the update and returns the operation's id.
func (u *update) begin() string {
	op := newOperation(state.Update, stepPlan, "")
	op.Plan, op.Change, op.StepSince = u.steps, &u.change.Change, time.Now().UTC()
	op.Description = stepText(op, "")
	u.in.Begin(op)
	return op.ID
}
