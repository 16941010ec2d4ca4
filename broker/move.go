package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/state"
)

// Move begins to take an instance to another site of the federation.
func (o operator) Move(ctx context.Context, id, site string) (admin.Operation, error) {
	return o.alter(ctx, id, "move", func(tx *state.Tx, in *state.Instance) error {
		if err := movable(*in); err != nil {
			return err
		}
		if o.cfg.GlobalPorts == nil {
			return admin.Errorf(http.StatusConflict, "moving needs a federation: this site has none")
		}
		from, err := o.cfg.GlobalPorts.CanMove(tx, id, site)
		if err != nil {
			return admin.Errorf(http.StatusConflict, "%s", err.Error())
		}
		if _, unfinished := tx.Get(state.FederationMoveKey(id, state.MoveOwn)); unfinished {
			return admin.Errorf(http.StatusConflict, "the other site of the last move of instance %q does not know yet how that ended: is it up?", id)
		}
		cluster, made, err := state.Load(tx, state.ClusterKey(id), state.JSON[state.Cluster])
		if err != nil {
			return err
		}
		if !made {
			return admin.Errorf(http.StatusConflict, "instance %q has no cluster to move", id)
		}
		if _, unfinished := cluster.SpareLogins(); unfinished {
			return admin.Errorf(http.StatusConflict, "the passwords of instance %q are not all replaced: rotate them again first", id)
		}
		op := newOperation(state.Move, stepTravel, "asking "+site)
		op.Site, op.Plan, op.StepSince = site, movePlan(cluster, site), op.Started
		in.Begin(op)
		tx.PutJSON(state.FederationMoveKey(id, state.MoveOwn), state.MoveNote{
			Move: op.ID, Instance: id, From: from, To: site, Author: from, Seq: 1, Stage: state.MoveAsked,
		})
		return nil
	})
}

// movable reports why an instance can not be moved, nor get other passwords, now, if
// so.
func movable(in state.Instance) error {
	op := in.Operation
	switch {
	case in.MovedTo != "":
		return admin.Errorf(http.StatusConflict, "instance %q has moved to %s: ask there", in.InstanceID, in.MovedTo)
	case op.Running():
		return admin.Errorf(http.StatusConflict, "instance %q is busy: %s; wait, or abandon the operation", in.InstanceID, op.Description)
	case unusable(op):
		return admin.Errorf(http.StatusConflict, "instance %q is not usable: %s", in.InstanceID, op.Description)
	}
	return nil
}

// unusable reports whether an operation has failed and has not left a usable
// instance.
func unusable(op state.Operation) bool {
	return op.State == state.Failed && (op.InstanceUsable == nil || !*op.InstanceUsable)
}

// movePlan returns the steps of the home.
func movePlan(c state.Cluster, site string) []state.Step {
	return []state.Step{
		{Kind: state.AskSite, Text: "ask whether the instance may come to " + site},
		{Kind: state.OfferCopy, Text: "have a copy made at " + site},
		{Kind: state.FreezeHome, Text: "end all writing, and wait until the copy has everything"},
		{Kind: state.DecideMove, Text: fmt.Sprintf("have the federation decide that port %d is at %s", c.AllocatedPort, site)},
		{Kind: state.AwaitArrival, Text: "forward the port, and wait for a write at " + site},
		{Kind: state.ClearHome, Text: "remove the nodes here"},
	}
}

// StopForwarding ends that an instance's port leads to the site that it has
// moved to, and forgets the instance here.
func (o operator) StopForwarding(ctx context.Context, id string) (admin.Operation, error) {
	return o.alter(ctx, id, "stop forwarding", func(tx *state.Tx, in *state.Instance) error {
		switch {
		case in.MovedTo == "":
			return admin.Errorf(http.StatusConflict, "the port of instance %q is not forwarded", id)
		case in.Operation.Running():
			return admin.Errorf(http.StatusConflict, "instance %q is busy: %s", id, in.Operation.Description)
		}
		tx.Delete(state.ForwardKey(id))
		tx.Delete(state.InstanceKey(id))
		tellGone(tx, id, fmt.Sprintf("forwarding to %s ended", in.MovedTo))
		return errors.Join(o.cfg.Ports.Release(tx, id), countOut(tx, in.PlanID))
	})
}

// here refuses what is asked of an instance that is moving, or has moved.
func here(in state.Instance) error {
	op := in.Operation
	switch {
	case in.MovedTo != "":
		return osb.Answer(http.StatusUnprocessableEntity, "", "instance %q has moved to %s: ask the broker there", in.InstanceID, in.MovedTo)
	case op.Running() && (op.Type == state.Move || op.Type == state.Arrival):
		return osb.ErrConcurrency
	}
	return nil
}

// withdraw takes a move back that is not decided: the other site is told to give
// up, and the home writes again.
func (d *driver) withdraw(tx *state.Tx, in *state.Instance, why string) error {
	op := &in.Operation
	home, err := d.cfg.GlobalPorts.HomeNow(tx, in.InstanceID)
	if err != nil {
		return err
	}
	if home == op.Site {
		return errDecided
	}
	cluster, _, err := state.Load(tx, state.ClusterKey(in.InstanceID), state.JSON[state.Cluster])
	if err != nil {
		return err
	}
	op.Failure = why
	op.Plan = append(op.Plan[:op.Done:op.Done],
		state.Step{Kind: state.ThawHome, Text: "let everybody write again"},
		state.Step{Kind: state.ProveWrite, Text: fmt.Sprintf("write through port %d", cluster.AllocatedPort)},
	)
	op.StepSince = time.Now().UTC()
	op.Description = stepText(*op, "")
	return say(tx, in.InstanceID, op.ID, func(n *state.MoveNote) { n.Stage, n.Why, n.Parcel = state.MoveWithdrawn, why, nil })
}

// errDecided says that there is no way back.
var errDecided = errors.New("the federation has decided: the instance is at the other site")

// giveUpMove takes a move back, unless it is decided: then it goes on.
func (d *driver) giveUpMove(in state.Instance, why string) []state.Group {
	d.log.Error("instance can not be moved, taking that back", "instance", in.InstanceID, "operation", in.Operation.ID, "why", why)
	return d.record(in, "give up", func(tx *state.Tx, now *state.Instance) error {
		err := d.withdraw(tx, now, why)
		if errors.Is(err, errDecided) {
			return state.ErrSkip
		}
		return err
	})
}

// departed ends a move: what stays is a record that says where the instance is,
// and the port, which is forwarded.
func (d *driver) departed(tx *state.Tx, in *state.Instance) error {
	op := &in.Operation
	op.State, op.Description = state.Succeeded, fmt.Sprintf("moved to %s; the port leads there until pgpatron gip forward stop %s", op.Site, in.InstanceID)
	in.MovedTo = op.Site
	if err := forgetCluster(tx, in.InstanceID); err != nil {
		return err
	}
	return d.cfg.Ports.ReleaseReadOnly(tx, in.InstanceID)
}

// say changes what this site says about a move, which the federation then tells
// the other site.
func say(tx *state.Tx, id, move string, change func(*state.MoveNote)) error {
	key := state.FederationMoveKey(id, state.MoveOwn)
	own, said, err := state.Load(tx, key, state.JSON[state.MoveNote])
	if err != nil {
		return err
	}
	if !said || own.Move != move {
		return state.ErrSkip
	}
	change(&own)
	own.Seq++
	tx.PutJSON(key, own)
	return nil
}

// said returns what one side says about the move of this turn.
func (t turn) said(side string) state.MoveNote {
	if n, ok := t.tables.moves.Get(t.in.InstanceID, side); ok && n.Value.Move == t.in.Operation.ID {
		return n.Value
	}
	return state.MoveNote{}
}

// publicAddress is where this site's routers serve a cluster.
func (c Config) publicAddress(cluster state.Cluster) string {
	return net.JoinHostPort(c.RouterHost, strconv.Itoa(cluster.AllocatedPort))
}
