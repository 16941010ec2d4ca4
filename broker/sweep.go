package broker

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

const (
	// sweepInterval is how often what is too old is looked for.
	sweepInterval = time.Minute
	// sweepSize bounds how many keys go in one transaction.
	sweepSize = 100
)

// sweeper remembers what the last sweep found, and when the next is due.
type sweeper struct {
	// next is in Unix nanoseconds. Any goroutine may read it.
	next atomic.Int64
	// gone are the routers whose switch is known and which were not there at the
	// last sweep, with the revision of what is known.
	gone map[string]int64
}

// due reports whether a sweep is. Any goroutine may ask.
func (s *sweeper) due(now time.Time) bool { return s.next.Load() <= now.UnixNano() }

// rest puts the next sweep off.
func (s *sweeper) rest(now time.Time) { s.next.Store(now.Add(sweepInterval).UnixNano()) }

// sweep removes what the event log has too much of, at once, and now and then
// what is too old, and what is known of routers that are gone.
func (c *chronicle) sweep(now time.Time) []state.Group {
	if !c.sweeper.due(now) {
		if c.tables.events.Len() > c.kept+sweepSize {
			return c.trim(now)
		}
		return nil
	}
	c.sweeper.rest(now)
	return append(c.trim(now), c.sweepRouters()...)
}

// trim removes the oldest events, as far as they are too many or too old.
func (c *chronicle) trim(now time.Time) []state.Group {
	events := slices.SortedFunc(c.tables.events.All(), oldestFirst)
	over := max(0, len(events)-c.kept)
	for over < len(events) && now.Sub(events[over].Value.At) > c.age {
		over++
	}
	var groups []state.Group
	for some := range slices.Chunk(events[:over], sweepSize) {
		groups = append(groups, c.group("trim events", func(tx *state.Tx) error {
			for _, e := range some {
				tx.Delete(state.EventKey(e.Params[0]))
			}
			return nil
		}))
	}
	return groups
}

// oldestFirst sorts events as they were written.
func oldestFirst(a, b state.Entry[state.Event]) int {
	return cmp.Or(cmp.Compare(a.CreateRevision, b.CreateRevision), cmp.Compare(a.Params[0], b.Params[0]))
}

// sweepRouters removes what is known of the switches of routers that are gone, and
// were a sweep ago: a router may have lost etcd for a moment.
func (c *chronicle) sweepRouters() []state.Group {
	var groups []state.Group
	gone := map[string]int64{}
	for s := range c.tables.switched.All() {
		kind, name := state.SwitchKind(s.Params[0]), s.Params[1]
		if _, there := c.tables.routers.Switches.Get(name); kind != state.RouterSwitch || there {
			continue
		}
		gone[name] = s.ModRevision
		if c.sweeper.gone[name] == s.ModRevision {
			groups = append(groups, c.forgetSwitched(state.Switch{Kind: kind, Name: name}))
		}
	}
	c.sweeper.gone = gone
	return groups
}

// forgetSwitched forgets what is known of the switch of a router that is gone.
func (c *chronicle) forgetSwitched(sw state.Switch) state.Group {
	return c.group("forget switch", func(tx *state.Tx) error {
		if _, there := tx.Get(sw.Key()); there {
			return state.ErrSkip
		}
		tx.Delete(state.SwitchedKey(sw))
		return nil
	})
}
