package broker

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// expiries are the logins that end by themselves, and when. A Tick looks at
// them only when the first of them is due.
type expiries struct {
	at map[bindingID]time.Time
	// first is when the first is due, in Unix nanoseconds, 0 for never.
	first atomic.Int64
}

func newExpiries() *expiries { return &expiries{at: map[bindingID]time.Time{}} }

// note takes in a binding as it is now; one that is gone is the zero Binding.
func (e *expiries) note(id bindingID, b state.Binding) {
	if b.State != state.BindingReady || b.Expires.IsZero() {
		delete(e.at, id)
		return
	}
	e.at[id] = b.Expires
	if first := e.first.Load(); first == 0 || b.Expires.UnixNano() < first {
		e.first.Store(b.Expires.UnixNano())
	}
}

// due reports whether a login's time is over. Any goroutine may ask.
func (e *expiries) due(now time.Time) bool {
	first := e.first.Load()
	return first != 0 && first <= now.UnixNano()
}

// take returns the bindings whose time is over, and finds out who is next.
func (e *expiries) take(now time.Time) []bindingID {
	if !e.due(now) {
		return nil
	}
	var over []bindingID
	var next int64
	for id, at := range e.at {
		if !now.Before(at) {
			over = append(over, id)
		}
		if n := at.UnixNano(); next == 0 || n < next {
			next = n
		}
	}
	e.first.Store(next)
	return over
}

// expire returns the groups that begin to end the logins whose time is over.
// PostgreSQL lets nobody in by them any more; their sessions, and the roles, go
// as when they are unbound. The record stays until the platform deletes it.
func (d *driver) expire(now time.Time) []state.Group {
	var groups []state.Group
	for _, id := range d.expiries.take(now) {
		groups = append(groups, state.Group{Name: "login expires", Apply: func(tx *state.Tx) error {
			if err := d.election.Guard(tx); err != nil {
				return errors.Join(state.ErrSkip, err)
			}
			key := state.BindingKey(id.instance, id.binding)
			b, exists, err := state.Load(tx, key, state.JSON[state.Binding])
			if err != nil {
				return err
			}
			if !exists || b.State != state.BindingReady || !b.Expired(now) {
				return state.ErrSkip
			}
			b.State = state.BindingExpiring
			tx.PutJSON(key, b)
			return nil
		}})
	}
	return groups
}
