package deploy

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

// guests are the instances that registered themselves. The elected registrar
// probes them, and lets them expire without a heartbeat.
type guests struct {
	cfg    Config
	tables *registry.Tables
	prober *prober
	log    *slog.Logger

	running sync.WaitGroup
	// mu guards the rest.
	mu    sync.Mutex
	known map[string]*guest
}

// guest is one of them. When it last gave a sign of life is measured here, by
// no clock but ours.
type guest struct {
	instance registry.Instance
	seen     time.Time
	probing  bool
	again    time.Time
	found    verdict
}

func newGuests(cfg Config, tables *registry.Tables, log *slog.Logger) *guests {
	return &guests{cfg: cfg, tables: tables, prober: newProber(), log: log, known: map[string]*guest{}}
}

// wait waits for probes that are under way.
func (g *guests) wait() { g.running.Wait() }

// any reports whether there are guests.
func (g *guests) any() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.known) > 0
}

// forget drops what is known: another registrar sees to them.
func (g *guests) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.known)
}

// tick takes in who is there, and returns what drops those that fell silent and
// tells what the probes found.
func (g *guests) tick(now time.Time, election *state.Election) []state.Group {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id := range g.known {
		if _, there := g.tables.Instances.Get(id); !there {
			delete(g.known, id)
		}
	}
	var groups []state.Group
	for e := range g.tables.Instances.All() {
		if e.Value.Node != "" || e.Value.Backend != "" {
			continue
		}
		seen := g.greet(e.Value.Instance, now)
		switch {
		case now.Sub(seen.seen) >= g.cfg.InstanceTTL:
			groups = append(groups, g.expire(e.Value.Instance, election))
		case seen.found.status != "" && seen.found != (verdict{e.Value.Status, e.Value.Details}):
			groups = append(groups, g.tell(e.Value.Instance, seen.found, election))
		}
	}
	return groups
}

// greet notes an instance's sign of life. Call it under mu.
func (g *guests) greet(in registry.Instance, now time.Time) *guest {
	known, ok := g.known[in.ID]
	switch {
	case !ok || known.instance.URL != in.URL:
		known = &guest{instance: in, seen: now}
		g.known[in.ID] = known
	case !known.instance.LastHeartbeat.Equal(in.LastHeartbeat):
		known.instance, known.seen = in, now
	}
	return known
}

// expire drops an instance, unless it gave a sign of life meanwhile.
func (g *guests) expire(in registry.Instance, election *state.Election) state.Group {
	return g.group("expire instance "+in.ID, in, election, func(tx *state.Tx, _ registry.InstanceRecord) error {
		g.log.Info("instance gave no heartbeat, it is dropped", "id", in.ID, "addr", in.URL)
		return registry.DropInstance(tx, in.ID)
	})
}

// tell writes what a probe found.
func (g *guests) tell(in registry.Instance, found verdict, election *state.Election) state.Group {
	return g.group("status of instance "+in.ID, in, election, func(tx *state.Tx, r registry.InstanceRecord) error {
		r.Status, r.Details = found.status, found.details
		_, err := registry.PutInstance(tx, r, false)
		return err
	})
}

// group changes an instance's record, if it is elected still and the record is
// as it was.
func (g *guests) group(name string, in registry.Instance, election *state.Election, apply func(*state.Tx, registry.InstanceRecord) error) state.Group {
	return state.Group{Name: name, Apply: func(tx *state.Tx) error {
		if err := election.Guard(tx); err != nil {
			return err
		}
		r, there, err := state.Load(tx, state.RegisteredKey(in.ID), state.JSON[registry.InstanceRecord])
		if err != nil {
			return err
		}
		if !there || r.URL != in.URL || !r.LastHeartbeat.Equal(in.LastHeartbeat) {
			return state.ErrSkip
		}
		return apply(tx, r)
	}}
}

// probe asks those that are due how they are.
func (g *guests) probe(ctx context.Context, wake func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for _, k := range g.known {
		if k.probing || now.Before(k.again) {
			continue
		}
		k.probing = true
		in := k.instance
		g.running.Go(func() {
			found := g.prober.probe(ctx, in)
			g.mu.Lock()
			k.probing, k.found, k.again = false, found, time.Now().Add(found.next())
			g.mu.Unlock()
			wake()
		})
	}
}
