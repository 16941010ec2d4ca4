package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// freezeLimit bounds each of the steps in which nobody can write. Then the move
// is taken back.
const freezeLimit = 15 * time.Second

// askSite waits until the other site says that the instance may come.
func (t turn) askSite() outcome {
	peer := t.said(state.MovePeer)
	switch peer.Stage {
	case "":
		return waiting("%s has not answered: its federation process and its broker have to run", t.in.Operation.Site)
	case state.MoveRefused:
		return refusedBy(peer)
	}
	return passed
}

func refusedBy(peer state.MoveNote) outcome {
	return outcome{failure: fmt.Errorf("%s refuses: %s", peer.Author, peer.Why)}
}

// offerCopy hands over the records, once the WAL is kept that a copy will need,
// and waits until the copy follows.
func (t turn) offerCopy() outcome {
	own, peer := t.said(state.MoveOwn), t.said(state.MovePeer)
	switch {
	case peer.Stage == state.MoveRefused:
		return refusedBy(peer)
	case own.Stage == state.MoveAsked:
		done, err := t.ask("keep WAL for the copy", func(ctx context.Context) error { return t.keepForCopy(ctx, true) })
		if !done {
			return retrying("the cluster is told to keep its WAL for the copy", err)
		}
		return outcome{apply: func(tx *state.Tx, c *state.Cluster) error {
			return t.hand(tx, *c, func(n *state.MoveNote) { n.Stage, n.Address = state.MoveOffered, t.cfg.publicAddress(*c) })
		}}
	case peer.Stage != state.MoveFollowing:
		return waiting("the operations of %s tell how far the copy is", t.in.Operation.Site)
	}
	return passed
}

// hand says something with a parcel of the records as they are.
func (t turn) hand(tx *state.Tx, c state.Cluster, change func(*state.MoveNote)) error {
	p, err := t.pack(tx, c)
	if err != nil {
		return err
	}
	sealed, err := sealParcel(p, t.said(state.MovePeer).Key, t.in.Operation.ID)
	if err != nil {
		return err
	}
	return say(tx, c.InstanceID, t.in.Operation.ID, func(n *state.MoveNote) {
		n.Parcel = sealed
		change(n)
	})
}

func (t turn) keepForCopy(ctx context.Context, keep bool) error {
	client, err := t.rest(t.leader())
	if err != nil {
		return err
	}
	return client.KeepForCopy(ctx, keep)
}

// freezeHome has the routers hold new connections, ends all others, and waits
// until the copy has what was written last.
func (t turn) freezeHome() outcome {
	own, peer := t.said(state.MoveOwn), t.said(state.MovePeer)
	forward, _ := t.tables.forwards.Get(t.in.InstanceID)
	switch {
	case peer.Stage == state.MoveRefused:
		return refusedBy(peer)
	case t.bindingsMove():
		return waiting("a login is being made or ended")
	case !forward.Value.Hold:
		return outcome{apply: func(tx *state.Tx, c *state.Cluster) error {
			tx.PutJSON(state.ForwardKey(c.InstanceID), state.Forward{Hold: true})
			return nil
		}}
	case own.Stage != state.MoveFrozen:
		return t.fence()
	case t.term() != own.Term:
		return outcome{failure: errNewLeader}
	case peer.Stage != state.MoveLevel || peer.LSN < own.LSN:
		return waiting("%s has not everything yet", t.in.Operation.Site)
	}
	return outcome{passed: true, apply: func(tx *state.Tx, c *state.Cluster) error {
		return say(tx, c.InstanceID, t.in.Operation.ID, func(n *state.MoveNote) { n.Stage = state.MoveReady })
	}}
}

// errNewLeader says that another may have been written to than was frozen.
var errNewLeader = errors.New("the leader changed while nobody could write")

// bindingsMove reports whether a login is not yet what its record says.
func (t turn) bindingsMove() bool {
	for b := range t.tables.bindings.Under(t.in.InstanceID) {
		if b.Value.State == state.BindingCreating || b.Value.State == state.BindingDeleting {
			return true
		}
	}
	return false
}

// term is the revision of the leader key: it changes with every change of leader.
func (t turn) term() int64 {
	key, _ := t.tables.leaders.Get(t.in.InstanceID)
	return key.ModRevision
}

// fence ends all writing on the leader, and tells the other site up to where it
// has to follow.
func (t turn) fence() outcome {
	term := t.term()
	done, err := t.ask(fmt.Sprintf("fence, led since %d", term), func(ctx context.Context) error {
		addr, err := t.leaderAddr()
		if err != nil {
			return err
		}
		lsn, err := t.cfg.Database.Fence(ctx, t.cluster, addr)
		if err == nil {
			t.positions.put(t.in.InstanceID, lsn)
		}
		return err
	})
	if !done {
		return retrying("sessions are ended", err)
	}
	lsn := t.positions.get(t.in.InstanceID)
	return outcome{apply: func(tx *state.Tx, c *state.Cluster) error {
		if key, led := tx.Get(state.LeaderKey(c.InstanceID)); !led || key.ModRevision != term {
			return state.ErrSkip
		}
		return t.hand(tx, *c, func(n *state.MoveNote) { n.Stage, n.LSN, n.Term = state.MoveFrozen, lsn, term })
	}}
}

// leaderAddr returns where the leader's PostgreSQL is, by the latest picture. For
// jobs.
func (t turn) leaderAddr() (addr string, err error) {
	t.view(func() {
		m, _ := t.tables.members.Get(t.in.InstanceID, t.leads())
		addr, err = m.Value.Addr()
	})
	return addr, err
}

// positions are what jobs found out about the WAL, by instance, while its
// operation runs.
type positions struct {
	mu sync.Mutex
	at map[string]int64
}

func (p *positions) put(instance string, lsn int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at[instance] = lsn
}

func (p *positions) get(instance string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at[instance]
}

func (p *positions) drop(instance string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.at, instance)
}

// decideMove waits for the federation. From its decision on the port leads to
// the other site.
func (t turn) decideMove() outcome {
	own, peer, verdict := t.said(state.MoveOwn), t.said(state.MovePeer), t.said(state.MoveVerdict)
	switch {
	case t.cfg.GlobalPorts.Home(t.in.InstanceID) == t.in.Operation.Site:
		return outcome{passed: true, apply: func(tx *state.Tx, c *state.Cluster) error {
			tx.PutJSON(state.ForwardKey(c.InstanceID), state.Forward{To: peer.Address})
			return nil
		}}
	case t.term() != own.Term:
		return outcome{failure: errNewLeader}
	}
	return waiting("%s", verdict.Why)
}

// awaitArrival waits until the other site serves.
func (t turn) awaitArrival() outcome {
	if t.said(state.MovePeer).Stage != state.MoveServing {
		return waiting("the operations of %s tell how far it is", t.in.Operation.Site)
	}
	return outcome{passed: true, apply: func(tx *state.Tx, c *state.Cluster) error {
		return say(tx, c.InstanceID, t.in.Operation.ID, func(n *state.MoveNote) { n.Stage, n.Parcel = state.MoveClosed, nil })
	}}
}

// clearHome removes the nodes, and waits until all are gone.
func (t turn) clearHome() outcome {
	for _, n := range t.cluster.Nodes {
		if !n.Removed {
			return outcome{apply: func(_ *state.Tx, c *state.Cluster) error {
				for i := range c.Nodes {
					c.Nodes[i].Removed = true
				}
				return nil
			}}
		}
		if status, _ := t.tables.nodes.Get(n.NodeID); status.Value.Phase != state.PhaseRemoved {
			return waiting("backend %s has not removed its node yet", n.BackendID)
		}
	}
	return passed
}

// thawHome lets everybody in again.
func (t turn) thawHome() outcome {
	done, err := t.ask("thaw", func(ctx context.Context) error {
		addr, err := t.leaderAddr()
		if err != nil {
			return err
		}
		return errors.Join(t.cfg.Database.Unfence(ctx, t.cluster, addr), t.keepForCopy(ctx, false))
	})
	if !done {
		return retrying("the leader is asked to let everybody in", err)
	}
	return outcome{passed: true, apply: func(tx *state.Tx, c *state.Cluster) error {
		tx.Delete(state.ForwardKey(c.InstanceID))
		return nil
	}}
}
