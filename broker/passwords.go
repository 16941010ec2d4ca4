package broker

import (
	"context"
	"fmt"
	"net/http"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/broker/planner"
	"github.com/pgpatron/pgpatron/state"
)

// Rotate begins to replace the passwords that a cluster has of its own. Who asks
// again while that is under way is told of the same operation.
func (o operator) Rotate(ctx context.Context, id string) (admin.Operation, error) {
	return o.alter(ctx, id, "rotate", func(tx *state.Tx, in *state.Instance) error {
		if in.Operation.Type == state.Rotate && in.Operation.Running() && in.Operation.Failure == "" {
			return nil
		}
		if err := movable(*in); err != nil {
			return err
		}
		cluster, made, err := state.Load(tx, state.ClusterKey(id), state.JSON[state.Cluster])
		if err != nil {
			return err
		}
		if !made {
			return admin.Errorf(http.StatusConflict, "instance %q has no cluster", id)
		}
		if err := o.tables.canRotate(cluster); err != nil {
			return admin.Errorf(http.StatusConflict, "%s", err.Error())
		}
		op := newOperation(state.Rotate, stepPlan, "")
		op.Plan, op.StepSince = planner.PlanPasswords(cluster), op.Started
		op.Description = stepText(op, "")
		in.Begin(op)
		return nil
	})
}

// canRotate returns an error if a member of a cluster runs that can not be given
// other passwords.
func (t *tables) canRotate(c state.Cluster) error {
	for _, n := range planner.Staying(c) {
		m, there := t.members.Get(c.InstanceID, n.NodeID)
		if _, can := m.Value.PasswordEdition(); there && !can {
			return fmt.Errorf("the node on %s is of image %s, which can not be given other passwords while it runs: upgrade the instance first", n.BackendID, c.SpecOf(n).Image)
		}
	}
	return nil
}

// offerPasswords makes new passwords and waits until every node that runs knows
// them. A node that is down learns them when it starts.
func (t turn) offerPasswords() outcome {
	if err := t.tables.canRotate(t.cluster); err != nil {
		return outcome{failure: err}
	}
	if out, due := t.toEdition(func(c *state.Cluster) { c.OfferLogins(newPassword) }); due {
		return out
	}
	for _, n := range planner.Staying(t.cluster) {
		if m, there := t.tables.members.Get(t.cluster.InstanceID, n.NodeID); there {
			if edition, _ := m.Value.PasswordEdition(); edition != t.cluster.LoginEdition {
				return waiting("the node on %s does not know them yet%s", n.BackendID, t.silence(n))
			}
		}
	}
	if t.leads() == "" {
		return waiting("nobody leads")
	}
	return passed
}

// adoptPasswords has the other passwords hold: the leader's node changes them in the
// database, and its replicas follow. A node that is not reached can do without: the
// passwords that it uses are spare ones elsewhere.
func (t turn) adoptPasswords() outcome {
	if out, due := t.toEdition((*state.Cluster).AdoptLogins); due {
		return out
	}
	leader := t.leads()
	if leader == "" {
		return waiting("nobody leads")
	}
	for _, n := range planner.Staying(t.cluster) {
		m, there := t.tables.members.Get(t.cluster.InstanceID, n.NodeID)
		if n.NodeID != leader && (!there || !t.reached(n)) {
			continue
		}
		edition, can := m.Value.PasswordEdition()
		set, known := m.Value.PasswordSet()
		if n.NodeID != leader && !can {
			continue // of an older image, and started since: it follows, and reads them when it is upgraded
		}
		if edition != t.cluster.LoginEdition || m.Value.IsRunning() && !(known && set == t.cluster.LoginSet) {
			return waiting("they do not hold yet on the node on %s%s", n.BackendID, t.silence(n))
		}
	}
	return passed
}

// retirePasswords has everybody forget the spare passwords. A node that is not
// reached does so when it is.
func (t turn) retirePasswords() outcome {
	if out, due := t.toEdition((*state.Cluster).RetireLogins); due {
		return out
	}
	for _, n := range planner.Staying(t.cluster) {
		m, there := t.tables.members.Get(t.cluster.InstanceID, n.NodeID)
		if edition, can := m.Value.PasswordEdition(); there && can && t.reached(n) && edition != t.cluster.LoginEdition {
			return waiting("the node on %s still knows them", n.BackendID)
		}
	}
	return passed
}

// toEdition has a change recorded once that leads to the step's edition. Nothing is
// due if it is there.
func (t turn) toEdition(change func(*state.Cluster)) (outcome, bool) {
	return outcome{apply: func(_ *state.Tx, c *state.Cluster) error {
		if c.LoginEdition >= t.step.Edition {
			return state.ErrSkip
		}
		change(c)
		return nil
	}}, t.cluster.LoginEdition < t.step.Edition
}

// reached reports whether a node's registrar is there, by which it is told anything.
func (t turn) reached(n state.Node) bool {
	_, registered := t.tables.backends.Get(n.BackendID)
	return registered
}

// silence tells that a node's registrar is not there.
func (t turn) silence(n state.Node) string {
	if t.reached(n) {
		return ""
	}
	return ", and its registrar is silent"
}

// unfinished reports whether an operation is at a step after which some passwords
// may already be others: it goes on from there, or is left as it is.
func unfinished(op state.Operation) bool {
	step, _ := op.Current()
	return step.Kind == state.AdoptPasswords || step.Kind == state.RetirePasswords
}
