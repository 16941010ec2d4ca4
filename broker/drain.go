package broker

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/pivotal-cf/brokerapi/v10/domain"

	"github.com/pgpatron/pgpatron/state"
)

const (
	// drainsAtOnce is how many instances of a backend are moved at a time: each
	// copies all its data.
	drainsAtOnce = 4
	// drainInterval is how often a drain looks at what is left.
	drainInterval = time.Second
)

// drainer empties backends: for every instance with nodes there it begins an
// update that moves them off, a few at a time.
type drainer struct {
	tables   *tables
	election *state.Election
	// understand works out an update, as for a request.
	understand func(tx *state.Tx, u *update, id string, details domain.UpdateDetails) error
	looked     time.Time
}

// draining reports whether a backend is being emptied.
func (t *tables) draining() bool {
	for e := range t.drains.All() {
		if e.Value.State == state.InProgress {
			return true
		}
	}
	return false
}

// drive takes every drain further.
func (d *drainer) drive() []state.Group {
	if !d.tables.draining() || time.Since(d.looked) < drainInterval {
		return nil
	}
	d.looked = time.Now()
	var groups []state.Group
	for e := range d.tables.drains.All() {
		if e.Value.State == state.InProgress {
			groups = append(groups, d.advance(e.Value)...)
		}
	}
	return groups
}

// advance begins what can begin, notes what has failed, and ends the drain when
// nothing is left to wait for.
func (d *drainer) advance(dr state.Drain) []state.Group {
	l := d.look(dr)
	if len(l.failed) == 0 && l.busy == 0 && len(l.free) == 0 {
		return d.change(dr.BackendID, "drain ends", func(_ *state.Tx, now *state.Drain) error {
			now.State = state.Succeeded
			if l.left > 0 {
				now.State = state.Failed
			}
			return nil
		})
	}
	var groups []state.Group
	if len(l.failed) > 0 {
		groups = d.change(dr.BackendID, "a move has failed", func(_ *state.Tx, now *state.Drain) error {
			maps.Copy(now.Problems, l.failed)
			return nil
		})
	}
	for _, id := range l.free[:min(len(l.free), max(0, drainsAtOnce-l.busy))] {
		groups = append(groups, d.move(dr.BackendID, id)...)
	}
	return groups
}

// leftover is what is still on a backend that is being emptied.
type leftover struct {
	// left counts the instances with nodes there, busy those that something is
	// done to.
	left, busy int
	// free are those that can be moved now, failed those whose move went wrong,
	// and why.
	free   []string
	failed map[string]string
}

func (d *drainer) look(dr state.Drain) leftover {
	l := leftover{failed: map[string]string{}}
	for c := range d.tables.clusters.All() {
		id := c.Value.InstanceID
		if !slices.ContainsFunc(c.Value.Nodes, func(n state.Node) bool { return n.BackendID == dr.BackendID }) {
			continue
		}
		l.left++
		in, _ := d.tables.instances.Get(id)
		op := in.Value.Operation
		switch _, told := dr.Problems[id]; {
		case told:
		case op.Running():
			l.busy++
		case dr.Moves[id] == op.ID && op.State == state.Failed:
			l.failed[id] = op.Description
		case dr.Moves[id] == op.ID:
			l.failed[id] = "moved, but its old node is not removed yet: " + op.Description
		default:
			l.free = append(l.free, id)
		}
	}
	slices.Sort(l.free)
	return l
}

// move begins the update that moves an instance's nodes off a backend. One that
// can not be begun is a problem of the drain.
func (d *drainer) move(backend, id string) []state.Group {
	request, err := json.Marshal(map[string]string{"move_off": backend})
	if err != nil {
		return nil // a string is always encoded
	}
	return d.change(backend, "move off "+backend, func(tx *state.Tx, dr *state.Drain) error {
		in, exists, err := state.Load(tx, state.InstanceKey(id), state.JSON[state.Instance])
		if err != nil || !exists || in.Operation.Running() {
			return errors.Join(state.ErrSkip, err)
		}
		u := &update{}
		err = d.understand(tx, u, id, domain.UpdateDetails{ServiceID: in.ServiceID, RawParameters: request})
		if err != nil {
			dr.Problems[id] = err.Error()
			return nil
		}
		if len(u.steps) == 0 {
			return state.ErrSkip
		}
		dr.Moves[id] = u.begin()
		tx.PutJSON(state.InstanceKey(id), u.in)
		return nil
	})
}

// change changes the record of a drain that is still running.
func (d *drainer) change(backend, name string, change func(tx *state.Tx, dr *state.Drain) error) []state.Group {
	return []state.Group{{Name: name, Apply: func(tx *state.Tx) error {
		if err := d.election.Guard(tx); err != nil {
			return errors.Join(state.ErrSkip, err)
		}
		now, exists, err := state.Load(tx, state.DrainKey(backend), state.JSON[state.Drain])
		if err != nil {
			return err
		}
		if !exists || now.State != state.InProgress {
			return state.ErrSkip
		}
		if now.Moves == nil {
			now.Moves = map[string]string{}
		}
		if now.Problems == nil {
			now.Problems = map[string]string{}
		}
		if err := change(tx, &now); err != nil {
			return err
		}
		now.Updated = time.Now().UTC()
		tx.PutJSON(state.DrainKey(backend), now)
		return nil
	}}}
}
