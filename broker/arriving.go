package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// awaitCopy waits until the nodes run and the first of them follows the home.
func (t turn) awaitCopy() outcome {
	if progress, ready := t.tables.progress(t.cluster); !ready {
		return waiting("%s", progress)
	}
	done, err := t.ask("ask the copy", func(ctx context.Context) error {
		return t.replayed(ctx, 0)
	})
	if !done {
		return retrying("", err)
	}
	return outcome{passed: true, apply: func(tx *state.Tx, c *state.Cluster) error {
		return say(tx, c.InstanceID, t.in.Operation.ID, func(n *state.MoveNote) { n.Stage = state.MoveFollowing })
	}}
}

// replayed fails until the copy streams from the home, and has replayed all up
// to a position in the WAL.
func (t turn) replayed(ctx context.Context, lsn int64) error {
	client, err := t.rest(t.leader())
	if err != nil {
		return err
	}
	s, err := client.Status(ctx)
	switch {
	case err != nil:
		return err
	case s.XLog.ReplayedLocation < lsn:
		return fmt.Errorf("the copy is %d bytes behind", lsn-s.XLog.ReplayedLocation)
	case lsn == 0 && s.ReplicationState != "streaming":
		return errors.New("the copy does not follow yet")
	}
	return nil
}

// catchUp waits until the copy has what the home wrote last, and for the
// federation's decision.
func (t turn) catchUp() outcome {
	own, peer := t.said(state.MoveOwn), t.said(state.MovePeer)
	if t.cfg.GlobalPorts.Home(t.in.InstanceID) == own.To {
		return passed
	}
	if peer.LSN == 0 {
		return waiting("%s still writes", peer.From)
	}
	if own.LSN == peer.LSN {
		return waiting("everything is here, the federation decides")
	}
	done, err := t.ask(fmt.Sprintf("replay up to %d", peer.LSN), func(ctx context.Context) error {
		return soon(ctx, func() error { return t.replayed(ctx, peer.LSN) })
	})
	if !done {
		return retrying("", err)
	}
	return outcome{apply: func(tx *state.Tx, c *state.Cluster) error {
		return say(tx, c.InstanceID, t.in.Operation.ID, func(n *state.MoveNote) { n.Stage, n.LSN = state.MoveLevel, peer.LSN })
	}}
}

// promoteCopy has Patroni make the copy a cluster of its own, and waits until its
// leader takes writes.
func (t turn) promoteCopy() outcome {
	return awaitJob(t.ask("promote", func(ctx context.Context) error {
		client, err := t.rest(t.leader())
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
		p, err := t.cfg.SealKey.openParcel(peer)
		if err != nil {
			return err
		}
		c.Follows = ""
		tx.Delete(state.ForwardKey(c.InstanceID))
		return t.unpack(tx, p)
	}}
}

// arrived ends an arrival: the home is told that it is not needed any more.
func arrived(tx *state.Tx, in *state.Instance) error {
	op := &in.Operation
	op.State, op.Description = state.Succeeded, "arrived from "+op.Site
	return say(tx, in.InstanceID, op.ID, func(n *state.MoveNote) { n.Stage = state.MoveServing })
}
