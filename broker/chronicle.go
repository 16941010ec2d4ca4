package broker

import (
	"errors"
	"time"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

// chronicle writes the event log. It compares what the picture says of instances
// and switches with what the log has been told of them, and tells the
// difference: the events, and that they are told, in one transaction. So each is
// told once, whoever is elected.
type chronicle struct {
	tables   *tables
	election *state.Election
	kept     int
	age      time.Duration

	// instances and switches are those of which there may be something to tell.
	instances map[string]struct{}
	switches  map[state.Switch]struct{}
	sweeper   sweeper
}

// tellsAtOnce bounds how many instances are told of in one Tick: when the log is
// new, every instance is.
const tellsAtOnce = 100

func newChronicle(cfg Config, t *tables, election *state.Election) *chronicle {
	return &chronicle{
		tables: t, election: election, kept: cfg.EventsKept, age: cfg.EventsAge,
		instances: map[string]struct{}{}, switches: map[state.Switch]struct{}{},
	}
}

// note takes in what has changed.
func (c *chronicle) note() {
	t := c.tables
	for params := range t.instances.Changed() {
		c.instances[params[0]] = struct{}{}
	}
	for params := range t.leaders.Changed() {
		c.instances[params[0]] = struct{}{}
	}
	for params := range t.fences.Changed() {
		c.instances[params[0]] = struct{}{}
	}
	for params := range t.told.Changed() {
		c.instances[params[0]] = struct{}{}
	}
	for kind, table := range map[state.SwitchKind]*state.Table[string]{
		state.RouterSwitch: t.routers.Switches, state.ReplicaSwitch: t.datasources, state.BackendSwitch: t.cordons,
	} {
		for params := range table.Changed() {
			c.switches[state.Switch{Kind: kind, Name: params[0]}] = struct{}{}
		}
	}
	for params := range t.switched.Changed() {
		c.switches[state.Switch{Kind: state.SwitchKind(params[0]), Name: params[1]}] = struct{}{}
	}
}

// drive returns what tells the log what it has not been told.
func (c *chronicle) drive(now time.Time) []state.Group {
	var groups []state.Group
	for id := range c.instances {
		if len(groups) == tellsAtOnce {
			break
		}
		events, after := c.compare(id, now)
		if before, _ := c.tables.told.Get(id); len(events) == 0 && after == before.Value {
			delete(c.instances, id)
			continue
		}
		groups = append(groups, c.tell(id, events, after))
	}
	for sw := range c.switches {
		if !c.untold(sw) {
			delete(c.switches, sw)
			continue
		}
		groups = append(groups, c.tellSwitch(sw, now))
	}
	return append(groups, c.sweep(now)...)
}

// compare returns what there is to tell of an instance, and what is told then. Of
// an instance that is new to the log it tells only what is under way.
func (c *chronicle) compare(id string, now time.Time) (events []state.Event, after state.Told) {
	entry, known := c.tables.told.Get(id)
	before := entry.Value
	in, exists := c.tables.instances.Get(id)
	switch {
	case !exists && known:
		return []state.Event{goneEvent(id, deprovisioned, now)}, state.Told{}
	case !exists:
		return nil, state.Told{}
	}
	after = before
	op := in.Value.Operation
	if op.ID != before.Operation || op.State != before.State {
		after.Operation, after.State = op.ID, op.State
		if cut, found := in.Value.Find(before.Operation); found && op.ID != before.Operation && before.State == state.InProgress {
			events = append(events, operationEvent(id, cut))
		}
		if known || op.Running() {
			events = append(events, operationEvent(id, op))
		}
	}
	if leader, led := c.tables.leaders.Get(id); led && leader.Value != before.Leader {
		after.Leader = leader.Value
		if before.Leader != "" {
			after.Failover = now.UTC()
			events = append(events, c.failoverEvent(id, before.Leader, leader.Value).Stamped(now))
		}
	}
	// Each host has a clock of its own: a later fence may say that it was earlier.
	if fence, fenced := c.tables.fences.Get(id); fenced && !fence.Value.At.Equal(before.Fence) {
		after.Fence = fence.Value.At
		if known {
			events = append(events, fenceEvent(id, fence.Value))
		}
	}
	return events, after
}

// tell commits events of an instance, unless the log was told meanwhile.
func (c *chronicle) tell(id string, events []state.Event, after state.Told) state.Group {
	key := state.ToldKey(id)
	before, _ := c.tables.told.Get(id)
	return c.group("tell events", func(tx *state.Tx) error {
		if now, _ := tx.Get(key); now.ModRevision != before.ModRevision {
			return state.ErrSkip
		}
		for _, e := range events {
			tx.PutJSON(state.EventKey(e.ID), e)
		}
		if after == (state.Told{}) {
			tx.Delete(key)
		} else {
			tx.PutJSON(key, after)
		}
		return nil
	})
}

// untold reports whether a switch was written by hand. Of a router that is away
// nothing is said: it may come back as it was.
func (c *chronicle) untold(sw state.Switch) bool {
	value, there := c.tables.switchValue(sw)
	_, noted := c.tables.switched.Get(string(sw.Kind), sw.Name)
	return state.IsDisabled(value) != noted && (there || sw.Kind != state.RouterSwitch)
}

// tellSwitch notes that a switch was written by hand.
func (c *chronicle) tellSwitch(sw state.Switch, now time.Time) state.Group {
	return c.group("tell switch", func(tx *state.Tx) error {
		kv, there := tx.Get(sw.Key())
		_, noted := tx.Get(state.SwitchedKey(sw))
		off := state.IsDisabled(string(kv.Value))
		if off == noted || !there && sw.Kind == state.RouterSwitch {
			return state.ErrSkip
		}
		notice(sw, off, admin.Act{}, now)(tx)
		return nil
	})
}

// group is one that only the elected broker's engine commits.
func (c *chronicle) group(name string, apply func(tx *state.Tx) error) state.Group {
	return state.Group{Name: name, Apply: func(tx *state.Tx) error {
		if err := c.election.Guard(tx); err != nil {
			return errors.Join(state.ErrSkip, err)
		}
		return apply(tx)
	}}
}
