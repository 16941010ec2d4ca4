package broker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// driver is the broker's reactor: while it is elected, it takes every
// operation and every binding to its end, step by step. What it knows stands
// in etcd: another driver goes on where this one was.
type driver struct {
	cfg      Config
	log      *slog.Logger
	tables   *tables
	election *state.Election
	jobs     *jobs
	// view holds the picture still for a job that looks at it.
	view func(look func())

	// elected says whether the last Tick held the office. The maps name what is
	// unfinished; they are filled from what changes, so that a Tick costs what
	// changed and what is under way, not what exists.
	elected bool
	// outdated is why the last Tick did nothing, if it did not.
	outdated   error
	operations map[string]struct{}
	bindings   map[bindingID]struct{}
	// visits are instances that other sites speak of.
	visits map[string]struct{}
	// leftovers are clusters with nodes that are being removed.
	leftovers map[string]struct{}
	drainer   *drainer
	replacer  *replacer
	plans     planCounts
	expiries  *expiries
	chronicle *chronicle
	positions *positions
	certifier *certifier
	// busy says that operations are under way: time matters to them.
	busy atomic.Bool
}

type bindingID struct{ instance, binding string }

func newDriver(cfg Config, t *tables, election *state.Election) *driver {
	return &driver{
		cfg: cfg, log: cfg.Log, tables: t, election: election, jobs: newJobs(cfg.Log),
		operations: map[string]struct{}{}, bindings: map[bindingID]struct{}{}, leftovers: map[string]struct{}{},
		plans: newPlanCounts(cfg.Plans), expiries: newExpiries(), chronicle: newChronicle(cfg, t, election),
		visits: map[string]struct{}{}, positions: &positions{at: map[string]int64{}},
		certifier: newCertifier(cfg, t, election),
	}
}

// Tick drives what is unfinished, unless the site's records are too new.
func (d *driver) Tick(ctx context.Context, t state.Tick) ([]state.Group, error) {
	d.note()
	outdated := d.tables.format.Check()
	if outdated != nil {
		return d.stand(t, outdated), nil
	}
	d.outdated = nil
	return d.tables.format.AdmittedAll(d.tick(ctx, t)), nil
}

// stand leaves everything to brokers that know the site's records.
func (d *driver) stand(t state.Tick, outdated error) []state.Group {
	if d.outdated == nil {
		d.log.Error("this broker is too old for the site", "err", outdated)
		d.jobs.dropAll()
	}
	d.outdated, d.elected = outdated, false
	d.busy.Store(false)
	return d.election.Resign(t)
}

// tick takes part in the election and drives what is unfinished.
func (d *driver) tick(ctx context.Context, t state.Tick) []state.Group {
	groups := d.tables.routers.Sweep("")
	defer func() { d.busy.Store(len(d.operations) > 0 || d.tables.draining() || d.replacer.waiting()) }()
	if !d.election.Holds(t) {
		if d.elected {
			d.log.Warn("no longer elected, another broker drives operations")
			d.jobs.dropAll()
		}
		d.elected = false
		d.chronicle.sweeper.rest(time.Now())
		d.certifier.wait(time.Now())
		return append(groups, d.election.Campaign(t, d.cfg.Hostname)...)
	}
	if !d.elected {
		d.log.Info("elected to drive operations")
		d.replacer.forget()
		d.certifier.begin()
	}
	d.elected = true
	groups = slices.Concat(groups, d.mendCounts(), d.expire(time.Now()), d.chronicle.drive(time.Now()))
	for id := range d.operations {
		if in, ok := d.tables.instances.Get(id); ok {
			groups = append(groups, d.drive(ctx, in.Value)...)
		}
	}
	for id := range d.visits {
		groups = append(groups, d.visit(id)...)
	}
	groups = append(groups, d.drainer.drive()...)
	groups = append(groups, d.replacer.drive()...)
	groups = append(groups, d.certifier.drive(time.Now())...)
	for id := range d.leftovers {
		groups = append(groups, d.forgetRemoved(id)...)
	}
	for id := range d.bindings {
		if b, ok := d.tables.bindings.Get(id.instance, id.binding); ok {
			groups = append(groups, d.driveBinding(ctx, b.Value)...)
		}
	}
	return groups
}

// note keeps the maps of what is unfinished.
func (d *driver) note() {
	d.chronicle.note()
	d.certifier.note()
	for params := range d.tables.instances.Changed() {
		id := params[0]
		in, ok := d.tables.instances.Get(id)
		d.plans.note(id, in.Value.PlanID)
		if ok && in.Value.Operation.Running() {
			d.operations[id] = struct{}{}
			continue
		}
		delete(d.operations, id)
		d.jobs.drop(instanceJob(id))
		d.positions.drop(id)
	}
	for params := range d.tables.clusters.Changed() {
		c, _ := d.tables.clusters.Get(params[0])
		d.tables.loads.note(params[0], c.Value.Nodes)
		delete(d.leftovers, params[0])
		if slices.ContainsFunc(c.Value.Nodes, func(n state.Node) bool { return n.Removed }) {
			d.leftovers[params[0]] = struct{}{}
		}
	}
	for params := range d.tables.moves.Changed() {
		delete(d.visits, params[0])
		if _, heard := d.tables.moves.Get(params[0], state.MovePeer); heard {
			d.visits[params[0]] = struct{}{}
		}
	}
	for params := range d.tables.bindings.Changed() {
		id := bindingID{params[0], params[1]}
		b, ok := d.tables.bindings.Get(params...)
		d.expiries.note(id, b.Value)
		if ok && !b.Value.State.AtRest() {
			d.bindings[id] = struct{}{}
			continue
		}
		delete(d.bindings, id)
		d.jobs.drop(bindingJob(id))
	}
}

// pace wakes the engine once a second while operations are under way, a login
// expires, or a sweep or a look at certificates is due, so that it is noticed that
// their time is over.
func (d *driver) pace(ctx context.Context, wake func()) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if now := time.Now(); d.busy.Load() || d.expiries.due(now) || d.chronicle.sweeper.due(now) || d.certifier.overdue(now) {
				wake()
			}
		}
	}
}

func instanceJob(id string) string { return "instance " + id }

func bindingJob(id bindingID) string { return fmt.Sprintf("binding %q of %q", id.binding, id.instance) }
