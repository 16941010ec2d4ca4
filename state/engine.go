package state

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrFinished is what a Tick returns to end Run, without an error once all its
// groups are committed.
var ErrFinished = errors.New("reactor finished")

// ErrStopped says that the engine ended before a group was committed. With
// ErrUnknownOutcome, it ended while a commit was under way.
var ErrStopped = errors.New("engine stopped")

// ErrObserver says that an engine that only observes was asked to
// commit something: it keeps no raw values to compute it from.
var ErrObserver = errors.New("engine only observes")

// Reactor is the part that a process plays: it looks at the picture and says
// what should change.
type Reactor interface {
	// Tick is called whenever the picture changed or somebody woke the engine.
	// It must be pure and quick: no I/O. Slow work runs elsewhere, and its
	// result comes back by Engine.Wake. An error ends the engine.
	//
	// Its groups are committed before the next Tick. One that is refused, by its
	// own error or etcd's, is dropped: its Done and the log tell why. A second
	// later a Tick comes at which Table.Changed names again what it named at the
	// Tick of that group; changes that come meanwhile do not wait for it.
	Tick(ctx context.Context, t Tick) ([]Group, error)
}

// Tick is what a reactor is told beside its tables.
type Tick struct {
	// Revision is etcd's revision at which the tables hold.
	Revision int64
	// Lease is the engine's session; 0 while there is none. When it changes,
	// what was put under the old one is lost or about to be.
	Lease clientv3.LeaseID
}

// EngineConfig configures an Engine.
type EngineConfig struct {
	Client *clientv3.Client
	Schema *Schema
	// Reactor may be nil.
	Reactor Reactor
	// Observer says that the engine only looks: it keeps no raw values and
	// commits nothing. Without Reactor and session it does so anyway.
	Observer bool
	// Name tells engines apart in logs and metrics.
	Name string
	// SessionTTL is how long the engine's leased keys outlive it. 0: no session.
	SessionTTL time.Duration
	// TickInterval is the least time between two Ticks. Default 1 ms.
	TickInterval time.Duration
	// CommitTimeout bounds one attempt to commit. Default 5 s.
	CommitTimeout time.Duration
	// SilenceTimeout is how long the watch may say nothing before it is asked
	// for a sign of life; after as long again it is given up. Default 10 s.
	SilenceTimeout time.Duration
	// Site is the id of the site that the engine is to be of: it waits while etcd
	// serves another, or none. Default: any.
	Site string
	// Log defaults to slog.Default.
	Log *slog.Logger
	// Registerer takes the metrics. nil: they are not registered.
	Registerer prometheus.Registerer
}

func (cfg *EngineConfig) defaults() error {
	if cfg.Client == nil || cfg.Schema == nil || len(cfg.Schema.prefixes) == 0 {
		return errors.New("engine needs a client and a schema with at least one table")
	}
	if cfg.TickInterval <= 0 {
		cfg.TickInterval = time.Millisecond
	}
	if cfg.CommitTimeout <= 0 {
		cfg.CommitTimeout = 5 * time.Second
	}
	if cfg.SilenceTimeout <= 0 {
		cfg.SilenceTimeout = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return nil
}

func (cfg *EngineConfig) observes() bool {
	return cfg.Observer || cfg.Reactor == nil && cfg.SessionTTL == 0
}

// Engine keeps one consistent picture of etcd and commits changes to it. Make
// it with NewEngine, then call Run once.
type Engine struct {
	cfg     EngineConfig
	id      string
	log     *slog.Logger
	metrics *metrics
	ready   chan struct{}
	wake    chan struct{}
	queued  chan struct{}
	leases  chan clientv3.LeaseID
	stopped chan struct{}

	// member is the etcd member that served the watch last. The feed's own.
	member uint64
	// broke is when the watch broke last.
	broke time.Time

	// origin is the etcd that the picture is of; held says that another answers.
	// suspect is told when one may.
	origin atomic.Pointer[origin]
	held   atomic.Bool
	// fed is up to which revision the watch has come: origin has it when that ends.
	fed     atomic.Int64
	suspect chan struct{}

	// mu guards the store and its tables: the loop writes, others read.
	mu    sync.RWMutex
	store *store

	// queueMu guards what comes from outside the loop.
	queueMu sync.Mutex
	queue   []*pending
	waiters []*waiter

	// The rest belongs to the loop.
	lease      clientv3.LeaseID
	committer  *committer
	commits    chan *commit
	inflight   *batch
	courtesy   courtesy
	work       []*pending
	behind     func() bool
	behindFrom time.Time
	landing    []*pending
	nextTick   time.Time
	nextLook   time.Time
	tickDue    bool
	// retry is when the reactor is to look again at what was refused.
	retry time.Time
	// news: the feed has some, which the loop has not taken in yet.
	news bool
	// finished: there will be no other Tick; unsaved is what its groups failed of.
	// resets counts how often another etcd took the picture's place.
	resets   int
	finished bool
	unsaved  []error
}

// NewEngine returns an engine for cfg.
func NewEngine(cfg EngineConfig) (*Engine, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	e := &Engine{
		cfg:     cfg,
		id:      uuid.NewString(),
		log:     cfg.Log.With("engine", cfg.Name),
		metrics: newMetrics(cfg.Registerer, cfg.Name),
		ready:   make(chan struct{}),
		wake:    make(chan struct{}, 1),
		queued:  make(chan struct{}, 1),
		leases:  make(chan clientv3.LeaseID),
		stopped: make(chan struct{}),
		suspect: make(chan struct{}, 1),
		commits: make(chan *commit, 1),
	}
	e.origin.Store(&origin{site: cfg.Site})
	if !cfg.observes() {
		cfg.Schema.Watch(markerKey(e.id))
	}
	e.store = newStore(cfg.Schema, cfg.observes(), e.badValue)
	e.committer = &committer{client: cfg.Client, key: markerKey(e.id), timeout: cfg.CommitTimeout, log: e.log}
	return e, nil
}

func (e *Engine) badValue(key string, err error) {
	e.metrics.undecodable.Inc()
	e.log.Error("value can not be read, key is left out", "key", key, "err", err)
}

// Ready is closed when the first picture is loaded.
func (e *Engine) Ready() <-chan struct{} { return e.ready }

// Wake asks for a Tick: something outside etcd changed.
func (e *Engine) Wake() { signal(e.wake) }

// signal leaves a sign in a channel of one place.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// View calls read while the picture is held still. Before Ready the picture is
// empty.
func (e *Engine) View(read func()) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	read()
}
