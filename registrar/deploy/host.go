package deploy

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/docker/docker/client"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

// relistInterval is how often the host is searched for containers that no
// record knows.
const relistInterval = time.Minute

// host runs what is placed on this host and says how it is.
type host struct {
	cfg    Config
	tables *registry.Tables
	crew   *crew
	log    *slog.Logger
}

func newHost(cfg Config, docker *client.Client, tables *registry.Tables, log *slog.Logger) *host {
	return &host{cfg: cfg, tables: tables, crew: newCrew(cfg, docker, log), log: log}
}

// run lets the workers work until ctx ends.
func (h *host) run(ctx context.Context, engine *state.Engine, wake func()) error {
	h.crew.begin(engine, wake)
	if err := h.greet(ctx); err != nil {
		return nil // ctx ended first
	}
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return h.crew.Run(ctx) })
	running.Go(func() error { return h.search(ctx, engine) })
	return running.Wait()
}

// greet waits for Docker's first answer. It settles the version of its API,
// which its client does not do for several askers at a time.
func (h *host) greet(ctx context.Context) error {
	for failures := 1; ; failures++ {
		err := h.crew.docker.answers(ctx)
		if err == nil || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if failures == 1 {
			h.log.WarnContext(ctx, "docker does not answer, will retry", "err", err)
		}
		staff.Pause(ctx, staff.Backoff(100*time.Millisecond, 5*time.Second, failures))
	}
}

// search looks for containers of ours that no record knows, as of a deployment
// that went while this host was away, and has them removed.
func (h *host) search(ctx context.Context, engine *state.Engine) error {
	failures := 0
	for {
		wait := relistInterval
		if err := h.adoptStrays(ctx, engine); err != nil && ctx.Err() == nil {
			failures++
			wait = staff.Backoff(time.Second, relistInterval, failures)
			h.log.WarnContext(ctx, "searching for containers, will retry", "err", err)
		} else {
			failures = 0
		}
		if staff.Pause(ctx, wait); ctx.Err() != nil {
			return nil
		}
	}
}

func (h *host) adoptStrays(ctx context.Context, engine *state.Engine) error {
	ids, err := h.crew.docker.instances(ctx)
	if err != nil || len(ids) == 0 {
		return err
	}
	var strays []string
	// etcd itself is asked: a picture that is not loaded knows nobody.
	err = engine.Do(ctx, state.Group{Name: "search strays", Apply: func(tx *state.Tx) error {
		strays = slices.DeleteFunc(slices.Clone(ids), h.known)
		tx.Get(state.SiteKey())
		return nil
	}})
	if err != nil {
		return fmt.Errorf("confirming that no record knows a container: %w", err)
	}
	h.crew.clear(strays)
	return nil
}

// known reports whether a deployment places the instance here.
func (h *host) known(id string) bool {
	for d := range h.tables.Deployments.All() {
		for _, p := range d.Value.Placements {
			if p.ID == id && p.Node == h.cfg.ID {
				return true
			}
		}
	}
	return false
}

// tick gives the workers their goals and publishes their reports.
func (h *host) tick(t state.Tick) []state.Group {
	placed := map[string]placed{}
	for d := range h.tables.Deployments.All() {
		for _, p := range d.Value.Placements {
			if p.Node == h.cfg.ID {
				placed[p.ID] = placedOf(d.Value, p)
			}
		}
	}
	h.crew.assign(placed)
	if t.Lease == clientv3.NoLease {
		return nil
	}
	return h.publish(t, placed)
}

// placed is a placement with the deployment that it belongs to.
type placed struct {
	registry.Placement
	deployment string
}

func placedOf(r registry.DeploymentRecord, p registry.Placement) placed {
	return placed{p, r.ID}
}

// publish returns what makes the instances in etcd exactly those that are
// placed here, and takes out of the records what was removed.
func (h *host) publish(t state.Tick, placed map[string]placed) []state.Group {
	var groups []state.Group
	for id, rep := range h.crew.reports() {
		p, there := placed[id]
		switch {
		case there && p.Removed && rep.gone:
			groups = append(groups, h.takeOut(p))
		case there && !p.Removed && rep.status != "":
			wanted := registry.InstanceRecord{Instance: rep.instance(p), Node: h.cfg.ID}
			have, ok := h.tables.Instances.Get(id)
			if !ok || have.Lease != t.Lease || !same(have.Value, wanted) {
				groups = append(groups, h.put(wanted))
			}
		}
	}
	for e := range h.tables.Instances.All() {
		if p, there := placed[e.Value.ID]; e.Value.Node == h.cfg.ID && (!there || p.Removed) {
			groups = append(groups, h.drop(e.Value.ID))
		}
	}
	return groups
}

// same reports whether two records tell the same; when is no matter.
func same(a, b registry.InstanceRecord) bool {
	return a.URL == b.URL && a.Status == b.Status && a.Details == b.Details && a.Node == b.Node &&
		a.DeploymentID == b.DeploymentID && a.Host == b.Host && slices.Equal(a.Ports, b.Ports)
}

// put publishes an instance. If its URL belongs to another it is published
// without one.
func (h *host) put(r registry.InstanceRecord) state.Group {
	return state.Group{Name: "publish instance " + r.ID, Apply: func(tx *state.Tx) error {
		owner, err := registry.PutInstance(tx, r, true)
		if err != nil || owner == "" {
			return err
		}
		orphan := r
		orphan.Status, orphan.Details = registry.InstanceError, fmt.Sprintf("url '%s' belongs to instance '%s'", r.URL, owner)
		orphan.URL, orphan.LastHeartbeat = "", time.Time{}
		_, err = registry.PutInstance(tx, orphan, true)
		return err
	}}
}

func (h *host) drop(id string) state.Group {
	return state.Group{Name: "withdraw instance " + id, Apply: func(tx *state.Tx) error {
		return registry.DropInstance(tx, id)
	}}
}

// takeOut takes a placement out of its record: nothing is left of it here.
func (h *host) takeOut(p placed) state.Group {
	return state.Group{Name: "take out placement " + p.ID, Apply: func(tx *state.Tx) error {
		key := state.DeploymentKey(p.deployment)
		r, there, err := state.Load(tx, key, state.JSON[registry.DeploymentRecord])
		if err != nil || !there {
			return err
		}
		r.Placements = slices.DeleteFunc(r.Placements, func(q registry.Placement) bool { return q.ID == p.ID && q.Removed })
		tx.PutJSON(key, r)
		return registry.DropInstance(tx, p.ID)
	}}
}
