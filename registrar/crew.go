package registrar

import (
	"context"
	"log/slog"
	"sync"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/state"
)

// want is what the records ask of a node here.
type want int

const (
	// wantNothing: no record names the node, and nothing of it is here.
	wantNothing want = iota
	// wantRunning: a record places it here.
	wantRunning
	// wantRemoved: its record says that it is to go.
	wantRemoved
	// wantUnclaimed: something of it is here, and no record places it here.
	wantUnclaimed
)

// goal is what is to become of one node.
type goal struct {
	want     want
	instance string
	cluster  state.Cluster
	// spec is what the node's container is to be made from.
	spec state.NodeSpec
	// certificate is what its server is to show; it is empty where there is none.
	certificate state.Certificate
	// revision and certified are the records', which tell goals of one want apart.
	revision, certified int64
}

// same reports whether two goals ask for the same.
func (g goal) same(other goal) bool {
	return g.want == other.want && g.revision == other.revision && g.certified == other.certified
}

// report is how far a worker is, in the words of state.NodeStatus. It is empty
// until the worker has looked.
type report struct {
	phase   state.Phase
	details string
}

// crew holds one worker for each node: whatever is done to a node is done by
// its worker, one thing after the other.
type crew struct {
	hands
	// reported is told when a report changed.
	reported func()

	// Staff lets the workers work. What they had begun when it ends is carried on
	// by whoever comes back.
	*staff.Staff
	// mu guards workers, and the fields of workers that say so.
	mu      sync.Mutex
	workers map[string]*worker
}

// hands is what workers work with.
type hands struct {
	cfg       Config
	docker    *docker
	inventory *inventory
	ports     *portPicker
	fencer    *fencer
	picture   picture
	// doomed confirms, right before something is deleted, that the records
	// really want it gone.
	doomed func(ctx context.Context, instance, node string) error
	// heirs tells, as etcd has it now, who leads a cluster and who could.
	heirs func(ctx context.Context, instance string) (heirs, error)
	log   *slog.Logger
}

func newCrew(h hands, reported func()) *crew {
	return &crew{hands: h, reported: reported, Staff: staff.New(), workers: map[string]*worker{}}
}

// assign gives every worker its goal. Nodes that are not named have none.
func (c *crew) assign(goals map[string]goal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for node, g := range goals {
		w, ok := c.workers[node]
		if !ok {
			w = newWorker(c, node)
			c.workers[node] = w
			c.Hire(w.run)
		}
		w.aim(g)
	}
	for node, w := range c.workers {
		if _, ok := goals[node]; !ok {
			w.aim(goal{})
		}
	}
}

// tell wakes a node's worker: something about its container is new. If Docker
// itself is, everybody has reason to try again.
func (c *crew) tell(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w, ok := c.workers[node]; ok {
		staff.Poke(w.news)
	}
	if node != "" {
		return
	}
	for _, w := range c.workers {
		staff.Poke(w.orders)
	}
}

// reports returns how far each worker is.
func (c *crew) reports() map[string]report {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]report, len(c.workers))
	for node, w := range c.workers {
		all[node] = w.report
	}
	return all
}

// stopping reports whether a node's container was asked to stop, and still may.
func (c *crew) stopping(node string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.workers[node]
	return ok && w.stopping
}
