// Package router gives every instance one public port that leads to whoever
// leads its cluster at the moment.
//
// Steering and the moving of bytes are apart. The steering looks at etcd, through
// the engine of package state, and says of each instance which port it has and
// who leads it: a course. A plane makes the courses true: it opens listeners,
// lets connections wait while there is no leader, joins them with the leader, and
// cuts them when it is the leader no more. Nothing in the steering knows how
// bytes are moved.
//
//	r, err := router.New(router.Config{IP: netip.MustParseAddr("10.0.0.5")}, client)
//	if err != nil {
//		return err
//	}
//	return r.Run(ctx)
package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// commitTimeout bounds one attempt to write to etcd. It is short because the
// engine does not steer while it writes.
const commitTimeout = 2 * time.Second

// Router routes the public ports of all instances. Make it with New, then call
// Run once.
type Router struct {
	cfg     Config
	log     *slog.Logger
	engine  *state.Engine
	plane   *plane
	contact *contact
}

// New returns a router that finds its instances through client. It opens
// nothing yet.
func New(cfg Config, client *clientv3.Client) (*Router, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Router{cfg: cfg, log: cfg.Log.With("router", routerName(cfg))}
	m := newMetrics(cfg.Registry)
	r.contact = newContact(func(ctx context.Context) error { return state.Check(ctx, client) }, cfg.Registry, r.log)
	r.plane = newPlane(cfg, m, r.log)
	showFailures(cfg.Registry, &r.plane.failures)
	schema := state.NewSchema()
	engine, err := state.NewEngine(state.EngineConfig{
		Client: client, Schema: schema, Reactor: r.steering(schema), Name: "router",
		SessionTTL: cfg.SessionTTL, CommitTimeout: commitTimeout, Log: r.log, Registerer: cfg.Registry,
	})
	if err != nil {
		return nil, err
	}
	r.engine = engine
	r.plane.failures.changed = engine.Wake
	return r, nil
}

// steering returns the reactor that steers this router's plane.
func (r *Router) steering(schema *state.Schema) *steering {
	return &steering{
		allocations:  state.Register(schema, state.AllocationPattern, state.Integer),
		leaders:      patroni.Leaders(schema),
		members:      patroni.Members(schema),
		registration: newRegistration(schema, r.cfg, &r.plane.failures, r.log),
		courses:      map[string]course{},
		give:         r.plane.orders.give,
	}
}

// Run routes until ctx ends: then every listener is closed, every session cut,
// and Run returns nil. Without etcd it goes on with what it knows. It may be
// called once.
func (r *Router) Run(ctx context.Context) error {
	listener, err := net.Listen("tcp", r.cfg.Metrics)
	if err != nil {
		return fmt.Errorf("opening router.metrics: %w", err)
	}
	warnOfLocalPorts(r.cfg.Ports, r.log)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.engine.Run(ctx) })
	g.Go(func() error { return r.plane.run(ctx) })
	g.Go(func() error { return r.plane.fast.run(ctx) })
	g.Go(func() error { return r.contact.run(ctx) })
	g.Go(func() error { return serveHTTP(ctx, listener, r.Handler()) })
	return g.Wait()
}

// serveHTTP serves until ctx ends.
func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving router.metrics: %w", err)
	}
	return nil
}
