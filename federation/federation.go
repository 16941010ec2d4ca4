package federation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/state"
)

// sessionTTL is how long the office outlives a process that vanished, at most: no
// longer than an overlay does.
const sessionTTL = 10 * time.Second

// Federation is one federation process of a site. Several may run: all answer,
// and one, elected, looks after what is under way. Make it with New, then call
// Run once.
type Federation struct {
	cfg      Config
	log      *slog.Logger
	store    *store
	engine   *state.Engine
	election *state.Election
	elected  atomic.Bool
	wake     chan struct{}
	carrier  *carrier
	pki      *pki
	peers    *peers
	troubles troubles
	// listening is closed when addr is bound.
	listening chan struct{}
	addr      net.Addr
	// unused are instances that have a global port and do not exist, and since
	// when; greeted is when another member was asked for news. Both are tend's.
	unused  map[string]time.Time
	greeted time.Time
}

// New returns a federation process of the site that client reaches.
func New(cfg Config, client *clientv3.Client) (*Federation, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	keys, err := newPKI(cfg.Files)
	if err != nil {
		return nil, err
	}
	schema := state.NewSchema()
	f := &Federation{
		cfg: cfg, log: cfg.Log.With("dc", cfg.DC), store: newStore(schema), election: state.NewElection(schema, "federation"),
		wake: make(chan struct{}, 1), pki: keys, peers: newPeers(keys, cfg.Patience), listening: make(chan struct{}),
		unused: map[string]time.Time{},
	}
	f.carrier = newCarrier(f)
	engine, err := state.NewEngine(state.EngineConfig{
		Client: client, Schema: schema, Reactor: f, Name: "federation", SessionTTL: min(sessionTTL, cfg.Lease), Log: f.log, Registerer: cfg.Metrics,
	})
	if err != nil {
		return nil, err
	}
	f.engine, f.store.engine, f.store.client = engine, engine, client
	if cfg.Metrics != nil {
		if err := cfg.Metrics.Register(collector{f}); err != nil {
			return nil, err
		}
	}
	f.store.ports, f.store.ttl, f.store.fresh = cfg.Ports, cfg.Lease, uuid.NewString
	f.store.own = Self{Peer: Peer{DC: cfg.DC, UUID: uuid.NewString(), Address: cfg.Address}, State: Standalone}
	return f, nil
}

// Tick takes part in the election, and has the elected process look around.
func (f *Federation) Tick(_ context.Context, t state.Tick) ([]state.Group, error) {
	f.elected.Store(f.election.Holds(t))
	if f.store.wants.Len() > 0 {
		f.hurry()
	}
	if f.store.moves.Len() > 0 {
		f.carrier.hurry()
	}
	return f.election.Campaign(t, f.cfg.Hostname), nil
}

// hurry has the elected process look around at once.
func (f *Federation) hurry() { poke(f.wake) }

// Run serves and looks after the site's part in its federation until ctx ends.
func (f *Federation) Run(ctx context.Context) error {
	listener, err := net.Listen("tcp", f.cfg.Listen)
	if err != nil {
		return fmt.Errorf("federation.listen: %w; end what uses the address, or choose another", err)
	}
	f.addr = listener.Addr()
	close(f.listening)
	server := &http.Server{
		Handler: f.handler(), TLSConfig: f.pki.server(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
	}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return f.engine.Run(ctx) })
	tasks.Go(func() error { return f.tend(ctx) })
	tasks.Go(func() error { return f.carrier.run(ctx) })
	tasks.Go(func() error {
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving the federation: %w", err)
		}
		return nil
	})
	tasks.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if server.Shutdown(end) != nil {
			server.Close()
		}
		f.peers.close()
		return nil
	})
	return tasks.Wait()
}

// Ready waits until the process can answer, and returns the address it listens
// on.
func (f *Federation) Ready(ctx context.Context) (net.Addr, error) {
	for _, c := range []<-chan struct{}{f.listening, f.engine.Ready()} {
		select {
		case <-c:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return f.addr, nil
}

// introduce writes down who the site is, the first time, and refuses to be
// another than it was.
func (f *Federation) introduce(ctx context.Context) error {
	return f.store.do(ctx, "introduce the site", func(s *Site) error {
		switch {
		case s.self.DC != f.cfg.DC:
			return fmt.Errorf("federation.dc: this site is %s, and can not be renamed to %s", s.self.DC, f.cfg.DC)
		case s.self.Address == f.cfg.Address:
			return nil
		case s.self.State != Standalone || s.overlay != nil:
			return fmt.Errorf("federation.address: the other sites know %s: to take %s, leave the federation first", s.self.Address, f.cfg.Address)
		}
		self := s.self
		self.Address = f.cfg.Address
		s.setSelf(self)
		return nil
	})
}
