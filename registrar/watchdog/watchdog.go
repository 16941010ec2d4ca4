// Package watchdog watches the databases of one host and finds those that are
// alive and dangerous: a leader that hangs, a server that takes writes without
// holding the leader key, a Patroni that is dead to the world while its server
// goes on. Machines have a watchdog device for that; containers have not.
//
// A Watchdog only finds. What is to be done about a finding is its caller's:
// to kill the container for certain, after which the death is dealt with like
// any other.
package watchdog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/state"
)

// Target is one run of a node's container.
type Target struct {
	Instance, Node string
	// Started tells one run of the container from the next.
	Started time.Time
	// Container is the id of the container, PID that of its first process, where the
	// registrar sees it: what waits for a processor is not taken for what hangs.
	Container string
	PID       int
	// SQL is the host:port of PostgreSQL, API the URL of Patroni's REST API.
	SQL, API string
	// Login and Database are what PostgreSQL is asked with, and Spare, if there is
	// one, where it does not take the Login's password.
	Login, Spare state.Credentials
	Database     string
	// Synchronous says that a standby has every acknowledged write.
	Synchronous bool
}

// Office is who leads a cluster, seen from one of its nodes.
type Office struct {
	// Known says that the picture is of now: etcd answers.
	Known bool
	// Leads says that the leader key names the node, Led that it names another.
	Leads, Led bool
	// Candidate says that another node can take over.
	Candidate bool
	// Stopping says that the node was asked to stop, or did: its silence is no
	// fault.
	Stopping bool
}

// Config configures a Watchdog.
type Config struct {
	// Patience is how long a leader may be silent. Default 3 s.
	Patience time.Duration
	// Office tells who leads a target's cluster. It must be quick.
	Office func(Target) Office
	// Bite is told of a finding. It is called in a goroutine of the target's own,
	// which watches on when it returns. An error is logged, and the finding is
	// made again if it still holds.
	Bite func(ctx context.Context, t Target, f Finding) error
	Log  *slog.Logger
}

// DefaultPatience is how long a leader may be silent before it is fenced.
const DefaultPatience = 3 * time.Second

// Watchdog watches targets. Make it with New, then call Run.
type Watchdog struct {
	cfg  Config
	news chan struct{}

	// mu guards the rest.
	mu       sync.Mutex
	targets  map[string]Target
	watching map[string]watched
}

// watched is a target that has a sentry.
type watched struct {
	target Target
	cancel context.CancelFunc
}

// New returns a watchdog without targets.
func New(cfg Config) *Watchdog {
	if cfg.Patience == 0 {
		cfg.Patience = DefaultPatience
	}
	return &Watchdog{cfg: cfg, news: make(chan struct{}, 1), targets: map[string]Target{}, watching: map[string]watched{}}
}

// Follow makes these the targets, by node, instead of those before. It does not
// wait.
func (w *Watchdog) Follow(targets map[string]Target) {
	w.mu.Lock()
	w.targets = targets
	w.mu.Unlock()
	staff.Poke(w.news)
}

// Run watches until ctx ends.
func (w *Watchdog) Run(ctx context.Context) error {
	var sentries sync.WaitGroup
	defer sentries.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.news:
		}
		for _, s := range w.change(ctx) {
			sentries.Go(s)
		}
	}
}

// change ends the sentries of targets that are gone, and returns those of new
// ones, to be run.
func (w *Watchdog) change(ctx context.Context) []func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for node, old := range w.watching {
		if t, ok := w.targets[node]; !ok || t != old.target {
			old.cancel()
			delete(w.watching, node)
		}
	}
	var fresh []func()
	for node, t := range w.targets {
		if _, ok := w.watching[node]; ok {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		w.watching[node] = watched{t, cancel}
		fresh = append(fresh, func() {
			defer cancel()
			newSentry(w.cfg, t).run(ctx)
		})
	}
	return fresh
}
