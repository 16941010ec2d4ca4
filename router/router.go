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
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/state"
)

// commitTimeout bounds one attempt to write to etcd.
const commitTimeout = 2 * time.Second

// Router routes the public ports of all instances. Make it with New, then call
// Run once.
type Router struct {
	cfg Config
	log *slog.Logger
	// observer steers and writes nothing; registrar tells etcd of this router.
	observer, registrar *state.Engine
	table               *table
	plane               *plane
	contact             *contact
}

// New returns a router that finds its instances through client. It opens
// nothing yet.
func New(cfg Config, client *clientv3.Client) (*Router, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Router{cfg: cfg, log: cfg.Log.With("router", routerName(cfg))}
	r.contact = newContact(func(ctx context.Context) error { return state.Check(ctx, client) }, cfg.Registry, r.log)
	r.plane = newPlane(cfg, newMetrics(cfg.Registry), r.log)
	r.table = newTable(cfg, r.plane)
	showFailures(cfg.Registry, &r.plane.failures)
	if err := r.addEngines(client); err != nil {
		return nil, err
	}
	r.plane.failures.changed = r.registrar.Wake
	r.table.site = r.observer.Site
	return r, nil
}

func (r *Router) addEngines(client *clientv3.Client) error {
	site := r.table.siteOnDisk()
	schema := state.NewSchema()
	var err error
	if r.observer, err = state.NewEngine(state.EngineConfig{
		Client: client, Schema: schema, Reactor: newSteering(schema, r.cfg, r.table), Observer: true, Name: "steering",
		Site: site, Log: r.log, Registerer: r.cfg.Registry,
	}); err != nil {
		return err
	}
	schema = state.NewSchema()
	r.registrar, err = state.NewEngine(state.EngineConfig{
		Client: client, Schema: schema, Reactor: newRegistration(schema, r.cfg, r.plane, r.log), Name: "router",
		SessionTTL: r.cfg.SessionTTL, CommitTimeout: commitTimeout, Site: site, Log: r.log, Registerer: r.cfg.Registry,
	})
	return err
}

// Started is closed when the router serves, or, while its circuit is broken,
// refuses: it has had one complete picture and followed it.
func (r *Router) Started() <-chan struct{} { return r.plane.started }

// Run routes until ctx ends. Then it lets no other client in, leaves those that
// it has Config.Drain to end by themselves, cuts them, and returns nil. Without
// etcd it goes on with what it knows. It may be called once.
func (r *Router) Run(ctx context.Context) error {
	listener, err := listenHTTP(ctx, r.cfg.Metrics)
	if err != nil {
		return fmt.Errorf("opening router.metrics: %w", err)
	}
	warnOfLocalPorts(r.cfg.Ports, r.log)
	warnOfFiles(r.cfg, r.log)
	told := ctx
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.observer.Run(ctx) })
	g.Go(func() error { return r.registrar.Run(ctx) })
	g.Go(func() error { return r.plane.run(ctx) })
	g.Go(func() error { return r.table.run(ctx) })
	g.Go(func() error { return r.plane.fast.run(ctx) })
	g.Go(func() error { return r.contact.run(ctx) })
	g.Go(func() error { return serveHTTP(ctx, listener, r.Handler()) })
	g.Go(func() error {
		defer cancel()
		return r.plane.drain(told, ctx)
	})
	return g.Wait()
}

// listenHTTP opens the address of /metrics and /healthz, on which the next
// router may listen before this one has ended: then the next one answers.
func listenHTTP(ctx context.Context, addr string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return control(raw, share) }}
	lc.SetMultipathTCP(false) // its sockets do not share
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err == nil {
		err = control(raw, succeed)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func control(raw syscall.RawConn, do func(fd int) error) (err error) {
	failed := raw.Control(func(fd uintptr) { err = do(int(fd)) })
	return errors.Join(failed, err)
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
