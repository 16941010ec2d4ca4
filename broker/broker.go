// Package broker is the Open Service Broker: it takes the platform's requests,
// records what is wanted in etcd, and answers by what etcd says. One of a
// site's brokers, elected, drives the operations to their end; all of them
// answer.
//
//	b, err := broker.New(cfg, client)
//	…
//	err = b.Run(ctx) // serves until ctx ends
package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/broker/postgres"
	"github.com/pgpatron/pgpatron/state"
)

// sessionTTL is how long an office outlives a broker that vanished.
const sessionTTL = 10 * time.Second

// decideTimeout is how long a request may wait for etcd to take what it asks
// for: platforms give up after 60 seconds.
const decideTimeout = 30 * time.Second

// Broker is one broker process. Make it with New, then call Run once.
type Broker struct {
	cfg    Config
	log    *slog.Logger
	client *clientv3.Client
	engine *state.Engine
	tables *tables
	driver *driver
	// listening is closed when the API's address is bound.
	listening chan struct{}
	bound     sync.Once
	addr      net.Addr
}

// New returns a broker of the site that client reaches.
func New(cfg Config, client *clientv3.Client) (*Broker, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	schema := state.NewSchema()
	b := &Broker{cfg: cfg, log: cfg.Log, client: client, tables: newTables(schema), listening: make(chan struct{})}
	if cfg.Database == nil {
		cfg.Database = postgres.Server{Host: cfg.RouterHost, Roots: b.roots}
	}
	if cfg.GlobalPorts != nil {
		cfg.GlobalPorts.Watch(schema)
	}
	site, err := siteFile(cfg.SiteFile).read()
	if err != nil {
		return nil, err
	}
	b.driver = newDriver(cfg, b.tables, state.NewElection(schema, "broker"))
	engine, err := state.NewEngine(state.EngineConfig{
		Client: client, Schema: schema, Reactor: b.driver, Name: "broker", Site: site,
		SessionTTL: sessionTTL, Log: cfg.Log, Registerer: cfg.Metrics,
	})
	if err != nil {
		return nil, err
	}
	b.engine = engine
	b.driver.jobs.wake, b.driver.view = engine.Wake, engine.View
	b.driver.drainer = &drainer{tables: b.tables, election: b.driver.election, understand: b.understand}
	b.driver.replacer = &replacer{
		tables: b.tables, election: b.driver.election, understand: b.understand, after: cfg.ReplaceAfter, log: cfg.Log,
	}
	return b, nil
}

// Run serves the API and drives operations until ctx ends.
func (b *Broker) Run(ctx context.Context) error {
	listener, err := net.Listen("tcp", b.cfg.Listen)
	if err != nil {
		return fmt.Errorf("broker.listen: %w; end what uses the address, or choose another", err)
	}
	b.addr = listener.Addr()
	b.bound.Do(func() { close(b.listening) })
	if b.cfg.TLS != nil {
		listener = tls.NewListener(listener, b.cfg.TLS)
	}
	server := &http.Server{
		Handler:           b.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(b.log.Handler(), slog.LevelDebug),
	}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return b.engine.Run(ctx) })
	tasks.Go(func() error { return b.keepSite(ctx) })
	tasks.Go(func() error { return b.driver.pace(ctx, b.engine.Wake) })
	tasks.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving the OSB API: %w", err)
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
		return nil
	})
	err = tasks.Wait()
	b.driver.jobs.wait()
	return err
}

// Ready waits until the broker can answer, and returns the address it listens
// on.
func (b *Broker) Ready(ctx context.Context) (net.Addr, error) {
	for _, c := range []<-chan struct{}{b.listening, b.engine.Ready()} {
		select {
		case <-c:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return b.addr, nil
}

// AwaitBackend waits until there is a healthy backend to put nodes on.
func (b *Broker) AwaitBackend(ctx context.Context) error {
	return b.engine.Await(ctx, func() bool {
		for backend := range b.tables.backends.All() {
			if backend.Value.Healthy() {
				return true
			}
		}
		return false
	})
}

// decide commits what apply writes. An answer by which apply refuses the request
// is confirmed: see confirm.
func (b *Broker) decide(ctx context.Context, name string, apply func(tx *state.Tx) error) error {
	return b.confirm(ctx, name, osb.IsAnswer, func(tx *state.Tx) error { return asAnswer(apply(tx)) })
}

// confirm commits what apply writes. A refusal of the request, before it has
// written anything, is confirmed by etcd, too: it rests on what is there, not on
// what this broker has seen of it so far.
func (b *Broker) confirm(ctx context.Context, name string, isRefusal func(error) bool, apply func(tx *state.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	var refusal error
	apply = b.tables.format.Admitted(apply)
	err := b.engine.Do(ctx, state.Group{Name: name, Apply: func(tx *state.Tx) error {
		refusal = nil
		err := apply(tx)
		if isRefusal(err) {
			refusal, err = err, nil
		}
		return err
	}})
	if err != nil {
		return err
	}
	return refusal
}
