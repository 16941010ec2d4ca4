package deploy

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

// office is the work of the elected registrar: it places instances, and sees to
// those that registered themselves. What it decided stands in the records;
// whoever is elected next goes on from there.
type office struct {
	cfg      Config
	tables   *registry.Tables
	election *state.Election
	guests   *guests
	log      *slog.Logger

	// busy says that time matters: somebody's silence is being counted.
	busy atomic.Bool
	// The rest belongs to Tick. silent are the nodes with placements that are
	// not registered, and since when. It is measured here, by no clock but ours.
	silent  map[string]time.Time
	elected bool
}

func newOffice(cfg Config, tables *registry.Tables, election *state.Election, log *slog.Logger) *office {
	return &office{
		cfg: cfg, tables: tables, election: election, log: log,
		guests: newGuests(cfg, tables, log), silent: map[string]time.Time{},
	}
}

// run wakes the engine once a second while time matters, and probes the guests,
// until ctx ends.
func (o *office) run(ctx context.Context, wake func()) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	defer o.guests.wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if o.busy.Load() {
				o.guests.probe(ctx, wake)
				wake()
			}
		}
	}
}

// moved reports whether the office changed hands.
func (o *office) moved() bool { return o.election.Changed() }

// tick does the office's work, or applies for it.
func (o *office) tick(t state.Tick, now time.Time) []state.Group {
	if !o.election.Holds(t) {
		o.elected = false
		o.busy.Store(false)
		clear(o.silent)
		o.guests.forget()
		return o.election.Campaign(t, o.cfg.Hostname)
	}
	if !o.elected {
		o.elected = true
		o.log.Info("elected to place instances")
	}
	o.listen(now)
	groups := o.guests.tick(now, o.election)
	for d := range o.tables.Deployments.All() {
		if _, done := o.next(d.Value, now); !done {
			groups = append(groups, o.place(d.Value.ID, now))
		}
	}
	o.busy.Store(len(o.silent) > 0 || o.guests.any())
	return groups
}

// listen notes which nodes with placements are silent.
func (o *office) listen(now time.Time) {
	wanted := map[string]bool{}
	for d := range o.tables.Deployments.All() {
		for _, p := range d.Value.Placements {
			_, alive := o.tables.Backends.Get(p.Node)
			wanted[p.Node] = !alive && !p.Removed || wanted[p.Node]
		}
	}
	for node := range o.silent {
		if !wanted[node] {
			delete(o.silent, node)
		}
	}
	for node, silent := range wanted {
		if _, known := o.silent[node]; silent && !known {
			o.silent[node] = now
			o.log.Warn("node with instances is silent", "node", node)
		}
	}
}

// gone reports whether a node is silent for so long that its instances are
// placed elsewhere.
func (o *office) gone(node string, now time.Time) bool {
	since, silent := o.silent[node]
	return silent && now.Sub(since) >= o.cfg.ReplaceAfter
}

// next returns a deployment's placements as they should be next, or that they
// are so already.
func (o *office) next(r registry.DeploymentRecord, now time.Time) (next []registry.Placement, done bool) {
	if r.Deleted {
		return r.Placements, len(r.Placements) > 0
	}
	def, there := o.tables.Definitions.Get(r.DefinitionID)
	if !there {
		return r.Placements, true
	}
	next = o.fleet(r, registry.NewRun(def.Value.Definition, r.Deployment), now).assign()
	return next, slices.EqualFunc(r.Placements, next, func(a, b registry.Placement) bool {
		return a.ID == b.ID && a.Removed == b.Removed
	})
}

func (o *office) fleet(r registry.DeploymentRecord, run registry.Run, now time.Time) *fleet {
	nodes := map[string]registry.Node{}
	zones := map[string]string{}
	for _, n := range o.tables.Nodes(now) {
		nodes[n.ID], zones[n.ID] = n, n.AvailabilityZone
	}
	load := map[string]int{}
	for d := range o.tables.Deployments.All() {
		for _, p := range d.Value.Live() {
			load[p.Node]++
		}
	}
	return &fleet{
		deployment: r.Deployment, run: run, placements: r.Placements,
		candidates: o.tables.Candidates(r.Deployment, run, now), load: load, zones: zones,
		healthy: o.tables.Healthy, told: o.tables.Told,
		lost: func(p registry.Placement) bool { return o.gone(p.Node, now) },
		misplaced: func(p registry.Placement) bool {
			n, known := nodes[p.Node]
			return known && n.Status != registry.NodeUnreachable && !registry.InRegion(r.Deployment, n)
		},
		// It names the container, where a colon may not be.
		newID: func() string { return registry.NewID(strings.ReplaceAll(r.ID, ":", "-")) },
	}
}

// place returns the group that takes a deployment one step further. A deleted
// one of which nothing is left goes.
func (o *office) place(id string, now time.Time) state.Group {
	return state.Group{Name: "place deployment " + id, Apply: func(tx *state.Tx) error {
		if err := o.election.Guard(tx); err != nil {
			return err
		}
		record, there, err := state.Load(tx, state.DeploymentKey(id), state.JSON[registry.DeploymentRecord])
		if err != nil || !there {
			return err
		}
		next, done := o.next(record, now)
		switch {
		case done:
			return state.ErrSkip
		case record.Deleted:
			tx.Delete(state.DeploymentKey(id))
		default:
			record.Placements = next
			tx.PutJSON(state.DeploymentKey(id), record)
		}
		return nil
	}}
}
