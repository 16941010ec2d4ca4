package deploy

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/docker/docker/client"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

// want is what the records ask of an instance here.
type want int

const (
	// wantNothing: no record knows it, and nothing of it is here.
	wantNothing want = iota
	wantRunning
	wantRemoved
)

// goal is what is to become of one instance.
type goal struct {
	want want
	placed
}

// report is what a worker says of its instance.
type report struct {
	verdict
	// addr is where the instance is called, ports are all that it is reached at.
	addr  netip.AddrPort
	ports []registry.Port
	host  string
	// gone says that no container is left.
	gone bool
}

// instance returns the report as an instance.
func (r report) instance(p placed) registry.Instance {
	in := registry.Instance{
		ID: p.ID, DeploymentID: p.deployment, Host: r.host, Scheme: p.Run.Scheme, Path: p.Run.Path,
		Status: r.status, Details: r.details, Ports: r.ports, LastHeartbeat: time.Now().UTC().Truncate(time.Second),
	}
	if r.addr.IsValid() {
		in.SetAddr(p.Run.Scheme, r.addr, p.Run.Path)
	}
	return in
}

// crew holds one worker for each instance.
type crew struct {
	cfg     Config
	docker  *docker
	builder *builder
	prober  *prober
	log     *slog.Logger
	// reported is told when a report changed.
	reported func()

	// Staff lets the workers work.
	*staff.Staff
	// mu guards workers, and the fields of workers that say so.
	mu      sync.Mutex
	workers map[string]*worker
}

func newCrew(cfg Config, c *client.Client, log *slog.Logger) *crew {
	d := &docker{client: c, cfg: cfg}
	return &crew{
		cfg: cfg, docker: d, builder: &builder{docker: d, log: log, node: cfg.ID}, prober: newProber(), log: log,
		reported: func() {}, Staff: staff.New(), workers: map[string]*worker{},
	}
}

// begin gives the crew what it has only once the registrar runs.
func (c *crew) begin(engine *state.Engine, reported func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.builder.engine, c.reported = engine, reported
}

// assign gives every worker its goal. Those that are not named have none,
// unless they clear a stray.
func (c *crew) assign(placements map[string]placed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, p := range placements {
		g := goal{wantRunning, p}
		if p.Removed {
			g.want = wantRemoved
		}
		c.worker(id).aim(g)
	}
	for id, w := range c.workers {
		if _, there := placements[id]; !there && w.goal.want == wantRunning {
			w.aim(goal{want: wantRemoved, placed: w.goal.placed})
		} else if !there && w.report.gone {
			w.aim(goal{})
		}
	}
}

// clear has containers removed that no record knows.
func (c *crew) clear(strays []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range strays {
		if _, there := c.workers[id]; !there {
			c.log.Warn("removing container that no record wants", "id", id)
			c.worker(id).aim(goal{want: wantRemoved, placed: placed{Placement: registry.Placement{ID: id, Node: c.cfg.ID, Removed: true}}})
		}
	}
}

// worker returns the instance's worker, hired if need be. Call it under mu.
func (c *crew) worker(id string) *worker {
	w, there := c.workers[id]
	if !there {
		w = newWorker(c, id)
		c.workers[id] = w
		c.Hire(w.run)
	}
	return w
}

// reports returns what each worker says.
func (c *crew) reports() map[string]report {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]report, len(c.workers))
	for id, w := range c.workers {
		all[id] = w.report
	}
	return all
}
