package broker

import (
	"errors"
	"fmt"

	"github.com/pgpatron/pgpatron/broker/planner"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// visit does what another site's word about an instance asks for that comes, or
// was to come, to this one.
func (d *driver) visit(id string) []state.Group {
	heard, ok := d.tables.moves.Get(id, state.MovePeer)
	peer := heard.Value
	if !ok || peer.Author != peer.From {
		return nil
	}
	spoken, said := d.tables.moves.Get(id, state.MoveOwn)
	own := spoken.Value
	switch {
	case said && own.Move != peer.Move:
	case peer.Stage == state.MoveWithdrawn:
		if own.Stage != state.MoveRefused {
			return d.sendBack(peer)
		}
	case !said:
		return d.reply(peer, "welcome an instance", d.welcome)
	case own.Stage == state.MoveWelcome && peer.Stage == state.MoveOffered:
		return d.reply(peer, "instance arrives", d.takeIn)
	}
	return nil
}

// reply says something about a move while the other site says what it said. What
// write refuses is told.
func (d *driver) reply(peer state.MoveNote, name string, write func(*state.Tx, state.MoveNote, *state.MoveNote) error) []state.Group {
	return []state.Group{{Name: name, Apply: func(tx *state.Tx) error {
		if err := d.election.Guard(tx); err != nil {
			return errors.Join(state.ErrSkip, err)
		}
		now, _, errPeer := state.Load(tx, state.FederationMoveKey(peer.Instance, state.MovePeer), state.JSON[state.MoveNote])
		own, said, errOwn := state.Load(tx, state.FederationMoveKey(peer.Instance, state.MoveOwn), state.JSON[state.MoveNote])
		if err := errors.Join(errPeer, errOwn); err != nil {
			return err
		}
		if now.Move != peer.Move || now.Seq != peer.Seq || said && own.Move != peer.Move {
			return state.ErrSkip
		}
		own.Move, own.Instance, own.From, own.To, own.Author = peer.Move, peer.Instance, peer.From, peer.To, peer.To
		own.Seq++
		if err := write(tx, now, &own); err != nil {
			d.log.Warn("an instance can not come here", "instance", peer.Instance, "from", peer.From, "err", err)
			own.Stage, own.Why = state.MoveRefused, err.Error()
		}
		tx.PutJSON(state.FederationMoveKey(peer.Instance, state.MoveOwn), own)
		return nil
	}}}
}

// welcome gives the home the key that it needs to hand over the records.
func (d *driver) welcome(tx *state.Tx, peer state.MoveNote, own *state.MoveNote) error {
	if err := d.free(tx, peer.Instance); err != nil {
		return err
	}
	key, err := parcelKey(d.cfg.Seal.Keys()[0])
	if err != nil {
		return err
	}
	own.Stage, own.Key = state.MoveWelcome, key.PublicKey().Bytes()
	return nil
}

// free refuses an instance whose id is in use here.
func (d *driver) free(tx *state.Tx, id string) error {
	in, exists, err := state.Load(tx, state.InstanceKey(id), state.JSON[state.Instance])
	switch {
	case err != nil:
		return err
	case in.MovedTo != "":
		return fmt.Errorf("its port is still forwarded to %s here: end that first, with pgpatron gip forward stop %s", in.MovedTo, id)
	case exists:
		return errors.New("an instance of this id exists here")
	}
	return nil
}

// takeIn records the instance with a cluster that begins as a copy. Nothing is
// written if it refuses.
func (d *driver) takeIn(tx *state.Tx, peer state.MoveNote, own *state.MoveNote) error {
	p, err := d.cfg.openParcel(peer)
	if err != nil {
		return err
	}
	in, cluster := p.Instance, p.Cluster
	if err := cluster.CheckVersion(); err != nil {
		return err
	}
	plan, known := d.cfg.plan(in.PlanID)
	switch {
	case in.InstanceID != peer.Instance || cluster.InstanceID != peer.Instance:
		return errors.New("the records are of another instance")
	case !known:
		return fmt.Errorf("plan %s is not in the catalog here", in.PlanID)
	case cluster.PostgresMajor != 0 && cluster.PostgresMajor != d.cfg.PostgresMajor:
		return fmt.Errorf("it has PostgreSQL %d, nodes here have %d", cluster.PostgresMajor, d.cfg.PostgresMajor)
	}
	if err := d.free(tx, peer.Instance); err != nil {
		return err
	}
	backends, err := d.tables.fleet(d.cfg.ShareBackends).PlaceNew(plan, len(planner.Staying(cluster)))
	if err != nil {
		return err
	}
	config, err := patroni.StandbyConfig(peer.Address, cluster.Synchronous, cluster.Settings)
	if err != nil {
		return err
	}
	if err := d.tables.countIn(tx, plan); err != nil {
		return err
	}
	in.Operation = newOperation(state.Arrival, stepTravel, "making a copy")
	in.Operation.ID, in.Operation.Site, in.History = peer.Move, peer.From, nil
	in.Operation.Plan, in.Operation.StepSince = arrivalPlan(cluster, peer.From), in.Operation.Started
	cluster.Nodes = newNodes(in, backends)
	cluster.Image, cluster.Restarts, cluster.Follows, cluster.ReadOnlyPort = d.tables.image(plan.ID, d.cfg.Image), 0, peer.Address, 0
	if d.cfg.ReadOnlyPorts && len(backends) > 1 {
		if port, err := d.cfg.Ports.AllocateReadOnly(tx, in.InstanceID); err == nil {
			cluster.ReadOnlyPort = port
		}
	}
	own.Stage, own.Address = state.MoveCopying, d.cfg.publicAddress(cluster)
	tx.Put(state.ConfigKey(in.InstanceID), config)
	tx.PutJSON(state.ForwardKey(in.InstanceID), state.Forward{Hold: true})
	tx.PutJSON(state.ClusterKey(in.InstanceID), cluster)
	tx.PutJSON(state.InstanceKey(in.InstanceID), in)
	return nil
}

// arrivalPlan returns the steps of the site that an instance comes to.
func arrivalPlan(c state.Cluster, from string) []state.Step {
	return []state.Step{
		{Kind: state.AwaitCopy, Text: "copy the instance from " + from},
		{Kind: state.CatchUp, Text: fmt.Sprintf("follow %s until it stops, and the federation decides", from)},
		{Kind: state.PromoteCopy, Text: "make the copy the one that is written to"},
		{Kind: state.OpenCopy, Text: "let everybody in"},
		{Kind: state.ProveWrite, Text: fmt.Sprintf("write through port %d", c.AllocatedPort)},
	}
}

// sendBack removes what there is of an instance that does not come after all.
func (d *driver) sendBack(peer state.MoveNote) []state.Group {
	in, exists := d.tables.instances.Get(peer.Instance)
	op := in.Value.Operation
	if !exists || op.ID != peer.Move {
		return d.reply(peer, "an instance does not come", func(*state.Tx, state.MoveNote, *state.MoveNote) error {
			return errors.New(peer.Why)
		})
	}
	if !op.Running() || op.Failure != "" {
		return nil
	}
	return d.record(in.Value, "instance does not come", func(tx *state.Tx, now *state.Instance) error {
		return discard(tx, now, fmt.Sprintf("%s took the move back: %s", peer.From, peer.Why))
	})
}

// vanished ends an arrival that failed: nothing is left of the instance.
func vanished(tx *state.Tx, in *state.Instance) error {
	tx.Delete(state.ForwardKey(in.InstanceID))
	tx.Delete(state.InstanceKey(in.InstanceID))
	why := in.Operation.Failure
	tellGone(tx, in.InstanceID, fmt.Sprintf("%s failed: %s", state.Arrival, why))
	return errors.Join(countOut(tx, in.PlanID), say(tx, in.InstanceID, in.Operation.ID, func(n *state.MoveNote) {
		n.Stage, n.Why = state.MoveRefused, why
	}))
}
