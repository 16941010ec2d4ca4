package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgpatron/pgpatron/broker/planner"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// awaitCopy waits until the nodes run and the first of them follows the home.
func (t turn) awaitCopy() outcome {
	if progress, ready := t.tables.progress(t.cluster); !ready {
		return waiting("%s", progress)
	}
	done, err := t.ask("ask the copy", t.follows)
	if !done {
		return retrying("", err)
	}
	return outcome{passed: true, apply: func(tx *state.Tx, c *state.Cluster) error {
		return say(tx, c.InstanceID, t.in.Operation.ID, func(n *state.MoveNote) { n.Stage = state.MoveFollowing })
	}}
}

// follows fails until the copy streams from the home.
func (t turn) follows(ctx context.Context) error {
	s, err := t.status(ctx, t.leader())
	if err == nil && s.ReplicationState != "streaming" {
		err = errors.New("the copy does not follow yet")
	}
	return err
}

// allReplayed fails until every node of the copy has all up to a position in the
// WAL: then whoever leads it has.
func (t turn) allReplayed(ctx context.Context, lsn int64) error {
	for _, n := range planner.Staying(t.cluster) {
		if err := t.replayed(ctx, n.NodeID, lsn); err != nil {
			return err
		}
	}
	return nil
}

// replayed fails until a node of the copy has all up to a position in the WAL. One
// that is promoted already has what it had before.
func (t turn) replayed(ctx context.Context, node string, lsn int64) error {
	s, err := t.status(ctx, node)
	if err != nil {
		return err
	}
	if behind := lsn - max(s.XLog.ReplayedLocation, s.XLog.Location); behind > 0 {
		return fmt.Errorf("node %s of the copy is %d bytes behind", node, behind)
	}
	return nil
}

// status returns what a member tells of itself.
func (t turn) status(ctx context.Context, node string) (patroni.Status, error) {
	client, err := t.rest(node)
	if err != nil {
		return patroni.Status{}, err
	}
	return client.Status(ctx)
}

// catchUp waits until every node of the copy has what the home wrote last, and
// for the federation's decision.
func (t turn) catchUp() outcome {
	own, peer := t.said(state.MoveOwn), t.said(state.MovePeer)
	if own.To != "" && t.cfg.GlobalPorts.Home(t.in.InstanceID) == own.To {
		return passed
	}
	if peer.LSN == 0 {
		return waiting("%s still writes", peer.From)
	}
	if own.LSN == peer.LSN {
		return waiting("everything is here, the federation decides")
	}
	done, err := t.ask(fmt.Sprintf("replay up to %d", peer.LSN), func(ctx context.Context) error {
		return soon(ctx, func() error { return t.allReplayed(ctx, peer.LSN) })
	})
	if !done {
		return retrying("", err)
	}
	return outcome{apply: func(tx *state.Tx, c *state.Cluster) error {
		return say(tx, c.InstanceID, t.in.Operation.ID, func(n *state.MoveNote) { n.Stage, n.LSN = state.MoveLevel, peer.LSN })
	}}
}

// promoteCopy has Patroni make the copy a cluster of its own, and waits until its
// leader takes writes. It may be another leader than the one that was level, even
// with a node that was made since: one that lacks something is not promoted, and
// both copies stay as they are.
func (t turn) promoteCopy() outcome {
	lsn := t.said(state.MoveOwn).LSN
	if lsn == 0 {
		return waiting("it is not known up to where the home has written")
	}
	return awaitJob(t.ask("promote", func(ctx context.Context) error {
		leader := t.leader()
		if err := t.replayed(ctx, leader, lsn); err != nil {
			return err
		}
		client, err := t.rest(leader)
		if err != nil {
			return err
		}
		if err := client.Promote(ctx); err != nil {
			return err
		}
		return soon(ctx, func() error {
			s, err := client.Status(ctx)
			if err == nil && !s.IsPrimary() {
				err = errors.New("the copy does not take writes yet")
			}
			return err
		})
	}))
}

// soon tries again and again, for some seconds, what is expected to work at any
// moment: writers wait for it.
func soon(ctx context.Context, attempt func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		err := attempt()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(30 * time.Millisecond):
		}
	}
}

// openCopy lets everybody in, with the logins that they had at the home.
func (t turn) openCopy() outcome {
	done, err := t.ask("open", func(ctx context.Context) error {
		addr, err := t.leaderAddr()
		if err != nil {
			return err
		}
		return t.cfg.Database.Unfence(ctx, t.cluster, addr)
	})
	if !done {
		return retrying("", err)
	}
	return outcome{passed: true, apply: func(tx *state.Tx, c *state.Cluster) error {
		peer, _, err := state.Load(tx, state.FederationMoveKey(c.InstanceID, state.MovePeer), state.JSON[state.MoveNote])
		if err != nil {
			return err
		}
		p, err := t.cfg.openParcel(peer)
		if err != nil {
			return err
		}
		c.Follows = ""
		tx.Delete(state.ForwardKey(c.InstanceID))
		t.unpack(tx, p)
		return nil
	}}
}

// arrived ends an arrival: the home is told that it is not needed any more.
func arrived(tx *state.Tx, in *state.Instance) error {
	op := &in.Operation
	op.State, op.Description = state.Succeeded, "arrived from "+op.Site
	return say(tx, in.InstanceID, op.ID, func(n *state.MoveNote) { n.Stage = state.MoveServing })
}
