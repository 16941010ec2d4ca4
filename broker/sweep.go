package broker

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

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
	// suspects are router keys that seemed to be nobody's, with the revision of
	// that: those that still are at the next sweep go.
	suspects map[string]int64
}

// due reports whether a sweep is. Any goroutine may ask.
func (s *sweeper) due(now time.Time) bool { return s.next.Load() <= now.UnixNano() }

// rest puts the next sweep off.
func (s *sweeper) rest(now time.Time) { s.next.Store(now.Add(sweepInterval).UnixNano()) }

// sweep removes what the event log has too much of, at once, and now and then
// what is too old, and what routers left that are gone.
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

// sweepRouters removes the keys of routers that died before they could take a key
// under their session again, which a plain put had taken it from; and what is
// known of the switches of routers that are gone. Both only if they were so a
// sweep ago, too: a router may have lost etcd for a moment.
func (c *chronicle) sweepRouters() []state.Group {
	var groups []state.Group
	found := map[string]int64{}
	suspect := func(key string, revision int64) {
		found[key] = revision
		if c.sweeper.suspects[key] == revision {
			groups = append(groups, c.forgetKey(key, revision))
		}
	}
	for r := range c.tables.routers.All() {
		if r.Lease == clientv3.NoLease {
			suspect(state.Switch{Kind: state.RouterSwitch, Name: r.Params[0]}.Key(), r.ModRevision)
		}
	}
	for s := range c.tables.switched.All() {
		if _, there := c.tables.routers.Get(s.Params[1]); s.Params[0] == string(state.RouterSwitch) && !there {
			suspect(state.SwitchedKey(state.Switch{Kind: state.RouterSwitch, Name: s.Params[1]}), s.ModRevision)
		}
	}
	c.sweeper.suspects = found
	return groups
}

// forgetKey removes a key that is still as it was.
func (c *chronicle) forgetKey(key string, revision int64) state.Group {
	return c.group("forget a router", func(tx *state.Tx) error {
		if kv, _ := tx.Get(key); kv.ModRevision != revision {
			return state.ErrSkip
		}
		tx.Delete(key)
		return nil
	})
}
