// Package registrar is a host's part of pgpatron: on every backend one
// Registrar registers the host in etcd, runs the containers that cluster
// records place there, announces where they are reached, and ends the
// leadership of those that die.
//
//	cfg := registrar.Config{Backend: addr, Hostname: "db1", Site: site, Etcd: endpoints}.WithDefaults()
//	if err := cfg.Validate(); err != nil {
//		return err
//	}
//	r, err := registrar.New(cfg, etcd)
//	if err != nil {
//		return err
//	}
//	return r.Run(ctx)
//
// Two pictures meet in it: what the records want (etcd, kept by the engine) and
// what there is (Docker, kept by the watcher). Tick compares them and gives
// every node's worker its goal; the worker does, one thing after the other,
// what leads there, and reports. What the workers and the watcher find out
// comes back into the next Tick, which publishes it.
package registrar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/registrar/watchdog"
	"github.com/pgpatron/pgpatron/state"
)

// Registrar runs the nodes of one backend. Make it with New, then call Run.
type Registrar struct {
	cfg     Config
	backend string
	etcd    clientv3.KV
	engine  *state.Engine
	tables  tables
	docker  *docker
	watcher *watcher
	meter   *meter
	crew    *crew
	guard   *guard
	foreign *announcer
	claim   *claim
	// copyist keeps copies of records on the volumes, attendant tells of them.
	copyist   *copyist
	attendant *attendant
	// watchdog watches what runs; current says that etcd answers, so that what
	// the tables hold is of now.
	watchdog *watchdog.Watchdog
	current  atomic.Bool
	log      *slog.Logger

	// inventory is Docker's picture; fresh says that it, or a report, is not as
	// the last Tick saw it.
	inventory *inventory
	fresh     atomic.Bool

	// The rest belongs to Tick. known and told are the announcements and the
	// statuses in etcd that are this registrar's to keep.
	desired desired
	known   map[announcement]struct{}
	told    map[string]struct{}
	lease   clientv3.LeaseID
	// due says that something is left to do, or to do again.
	due bool
}

// New returns a registrar for cfg, which must be valid, on the etcd behind
// client.
func New(cfg Config, client *clientv3.Client) (*Registrar, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	connection, err := dialDocker(cfg.DockerHost)
	if err != nil {
		return nil, err
	}
	schema := state.NewSchema()
	r := &Registrar{
		cfg: cfg, backend: cfg.ID, etcd: client, tables: newTables(schema, cfg.Image),
		known: map[announcement]struct{}{}, told: map[string]struct{}{},
	}
	for _, p := range cfg.Parts {
		p.Register(schema)
	}
	r.log = cfg.Log.With("backend", r.backend)
	r.engine, err = state.NewEngine(state.EngineConfig{
		Client: client, Schema: schema, Reactor: r, Name: cfg.engineName(),
		SessionTTL: cfg.SessionTTL, Log: r.log, Registerer: cfg.Registerer,
	})
	if err != nil {
		return nil, err
	}
	r.docker = &docker{client: connection, owner: owner{site: cfg.Site, backend: r.backend}}
	r.inventory = newInventory(r.moved)
	r.copyist = newCopyist(cfg, client, r.docker, r.inventory, r.log)
	r.attendant = &attendant{
		etcd: client, cfg: cfg, docker: &docker{client: connection}, engine: r.engine, witness: witness{etcd: client, cfg: cfg}, log: r.log,
	}
	r.watcher = &watcher{docker: r.docker, inventory: r.inventory, log: r.log}
	r.meter = &meter{docker: r.docker, fullAt: cfg.DiskReadOnly, changed: r.wake, log: r.log}
	r.guard = newGuard(r.log)
	r.foreign = newAnnouncer(r.docker, client, cfg, r.log)
	r.crew = newCrew(r.hands(client), r.wake)
	r.claim = newClaim(cfg.self(), cfg.SessionTTL, r.engine.Wake)
	r.desired = newDesired(r.backend)
	r.watchdog = r.newWatchdog(client)
	return r, nil
}

// hands gives the workers what they work with.
func (r *Registrar) hands(client *clientv3.Client) hands {
	return hands{
		cfg: r.cfg, docker: r.docker, inventory: r.inventory, log: r.log,
		ports:  &portPicker{docker: r.docker, ports: r.cfg.Ports, addr: r.cfg.Backend, log: r.log},
		fencer: &fencer{etcd: client, inspect: r.docker.inspect, log: r.log, fencings: newFencings(r.cfg.Registerer, r.backend)},
		picture: picture{
			engine: r.engine, leaders: r.tables.leaders, members: r.tables.members, syncs: r.tables.syncs,
			patience: r.cfg.patience, fell: r.inventory.fell,
		},
		doomed: r.doomed, heirs: r.heirs,
	}
}

// Run registers the host and runs its nodes until ctx ends, which is no error.
// The containers go on running then; whoever comes next finds them. It returns
// an error if another registrar has the backend, and ErrOtherSite if etcd has come
// to serve another site.
func (r *Registrar) Run(ctx context.Context) error {
	defer r.docker.client.Close()
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return r.engine.Run(ctx) })
	running.Go(func() error { return r.attendant.Run(ctx) })
	running.Go(func() error {
		// Docker is not touched before the backend is ours.
		select {
		case <-ctx.Done():
			return nil
		case <-r.claim.held:
		}
		running.Go(func() error { return r.watcher.Run(ctx) })
		running.Go(func() error { return r.meter.Run(ctx) })
		running.Go(func() error { return r.guard.Run(ctx) })
		running.Go(func() error { return r.foreign.Run(ctx) })
		running.Go(func() error { return r.copyist.Run(ctx) })
		running.Go(func() error { return r.watchdog.Run(ctx) })
		r.runParts(ctx, running)
		return r.crew.Run(ctx)
	})
	if err := running.Wait(); err != nil {
		return err
	}
	if err := r.claim.leave(ctx, r.etcd, r.condition()); err != nil {
		r.log.WarnContext(ctx, "noting when the host was seen last", "err", err)
	}
	return nil
}

// Ready waits until the backend is registered as this registrar's, and healthy.
func (r *Registrar) Ready(ctx context.Context) error {
	return r.engine.Await(ctx, func() bool {
		found, there := r.tables.backends.Get(r.backend)
		return there && r.claim.wrote(found.Value) && found.Value.Healthy()
	})
}

// Held returns why nothing is changed while etcd is not the one that it was; nil
// while it is. The nodes run on.
func (r *Registrar) Held() error { return r.engine.Held() }

// moved is told when something of a node on Docker is not as it was.
func (r *Registrar) moved(node string) {
	r.crew.tell(node)
	r.wake()
}

// lookAt asks Docker for a node's container.
func (r *Registrar) lookAt(ctx context.Context, node string) error {
	return look(ctx, r.docker, r.inventory, node)
}

// wake asks for a Tick over what is new here.
func (r *Registrar) wake() {
	r.fresh.Store(true)
	r.engine.Wake()
}

// Tick compares the records with what Docker has, gives the workers their
// goals, and publishes what there is.
func (r *Registrar) Tick(ctx context.Context, t state.Tick) ([]state.Group, error) {
	r.current.Store(t.Lease != clientv3.NoLease)
	r.due = r.concerned(t) || r.due
	held, groups, err := r.claim.tick(t, r.tables.backends, r.condition())
	if err != nil {
		return nil, err
	}
	if held && r.due {
		r.due = false
		docker := r.inventory.snapshot()
		r.crew.assign(r.desired.goals(docker))
		r.guard.assign(r.orders(docker))
		r.watch(docker)
		if t.Lease != clientv3.NoLease {
			groups = append(groups, r.announce(t, docker)...)
			groups = append(groups, r.publish(t, docker)...)
		}
	}
	for i := range groups {
		groups[i].Done = r.ended
	}
	if !held {
		return groups, nil
	}
	others, err := r.tickParts(ctx, t)
	return append(groups, others...), err
}

// ended is told how a group ended. The next Tick looks again at what was
// refused.
func (r *Registrar) ended(err error) {
	if err != nil {
		r.due = true
	}
}

// doomed confirms with etcd that nobody wants the node here: its record says
// that it is to go, or there is none that names it. A record that can not be
// read is a doubt, and so is a copy of it that is newer than etcd.
func (r *Registrar) doomed(ctx context.Context, instance, node string) error {
	if instance == "" {
		return errors.New("it does not say what cluster it belongs to")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var claimed bool
	err := r.engine.Do(ctx, state.Group{Name: "confirm removal", Apply: func(tx *state.Tx) error {
		cluster, _, err := state.Load(tx, state.ClusterKey(instance), state.KeptCluster)
		n, named := cluster.Node(node)
		claimed = named && !n.Removed
		return errors.Join(err, cluster.CheckVersion())
	}})
	if err != nil {
		return fmt.Errorf("confirming that no record wants it: %w", err)
	}
	if claimed {
		return errClaimed
	}
	return r.copyist.verify(ctx, node)
}
