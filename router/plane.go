package router

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// plane makes courses true in user space. One goroutine changes routes and
// listeners; each connection has its own.
type plane struct {
	cfg      Config
	log      *slog.Logger
	metrics  *metrics
	orders   *orders
	failures failures
	sockets  sockets
	prober   *prober
	holder   *holder
	fast     *fastPath
	// given is the kernel, once it leads, and lanes what run has made of it.
	given chan *lanes
	lanes *lanes
	// started is closed when the first courses have been followed.
	started chan struct{}

	// routes, ports and shut belong to run, and all are by instance. shut are
	// those of the ports that are not open yet.
	routes map[string]*route
	ports  map[string]*port
	shut   map[string]*port
	// conns counts the goroutines of listeners and connections.
	conns sync.WaitGroup
}

func newPlane(cfg Config, m *metrics, log *slog.Logger) *plane {
	s := newSockets(cfg)
	d := s.dialer(cfg.DialTimeout)
	prober := newProber(d, m, log)
	p := &plane{
		cfg: cfg, log: log, metrics: m, sockets: s, prober: prober,
		orders:  newOrders(),
		holder:  &holder{dialer: d, prober: prober, metrics: m, hold: cfg.Hold},
		started: make(chan struct{}),
		routes:  map[string]*route{},
		ports:   map[string]*port{},
		shut:    map[string]*port{},
		given:   make(chan *lanes),
	}
	p.fast = newFastPath(cfg, p)
	return p
}

// run follows the orders until ctx ends. Then it closes everything and waits
// until every connection has ended.
func (p *plane) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer p.prober.close()
	defer p.conns.Wait()
	defer p.closeAll()
	defer cancel()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.orders.news:
			p.follow(ctx, p.orders.take())
		case p.lanes = <-p.given:
			p.attachAll()
			continue
		case <-retry.C:
		}
		retry.Reset(p.openPorts(ctx))
		p.start()
	}
}

// start says, the first time, that the plane serves.
func (p *plane) start() {
	select {
	case <-p.started:
	default:
		close(p.started)
		if p.lanes != nil {
			p.lanes.kernel.Settle()
		}
	}
}

// take hands the kernel to run.
func (p *plane) take(ctx context.Context, l *lanes) {
	select {
	case p.given <- l:
	case <-ctx.Done():
	}
}

// attachAll has the kernel lead every port that is open.
func (p *plane) attachAll() {
	for _, held := range p.ports {
		if held.listener != nil {
			p.attach(held)
		}
	}
	select {
	case <-p.started:
		p.lanes.kernel.Settle()
	default:
	}
}

// attach has the kernel lead an open port. One that could not be opened is
// somebody else's.
func (p *plane) attach(held *port) {
	if p.lanes != nil {
		p.fast.join(uint16(held.number), held.route)
		held.route.attach(lane{lanes: p.lanes, port: uint16(held.number)})
	}
}

// follow takes in what changed: leaders first, because sessions to be cut can
// not wait; then the ports that are given up, so that others may have them.
func (p *plane) follow(ctx context.Context, courses map[string]course) {
	for id, c := range courses {
		if c.port != 0 {
			p.route(ctx, id).steer(c.leader)
		}
	}
	for id, c := range courses {
		if held := p.ports[id]; held != nil && held.number != c.port {
			p.giveUp(held)
		}
		if c.port == 0 {
			p.forget(id)
		}
	}
	for id, c := range courses {
		if c.port != 0 && p.ports[id] == nil {
			held := &port{number: c.port, route: p.routes[id]}
			p.ports[id], p.shut[id] = held, held
		}
	}
}

// route returns the route of an instance and makes it if need be.
func (p *plane) route(ctx context.Context, instance string) *route {
	r := p.routes[instance]
	if r == nil {
		r = newRoute(ctx, instance, p.metrics, p.log)
		p.routes[instance] = r
	}
	return r
}

func (p *plane) forget(instance string) {
	if r := p.routes[instance]; r != nil {
		r.close()
		delete(p.routes, instance)
		p.metrics.forget(instance)
	}
}

func (p *plane) giveUp(held *port) {
	held.close()
	delete(p.ports, held.route.instance)
	delete(p.shut, held.route.instance)
	held.route.detach()
	p.fast.leave(uint16(held.number))
	p.failures.remove(held.number)
	p.log.Info("port closed", "instance", held.route.instance, "port", held.number)
}

func (p *plane) closeAll() {
	for _, held := range p.ports {
		held.close()
	}
	for _, r := range p.routes {
		r.close()
	}
}

// serve is the life of one connection. It owns client.
func (p *plane) serve(ctx context.Context, r *route, client *net.TCPConn) {
	r.suspect()
	s, err := p.holder.connect(ctx, r, client)
	if err != nil {
		p.turnAway(ctx, r, client, err)
		return
	}
	s.run()
}

// turnAway ends a connection that found no leader.
func (p *plane) turnAway(ctx context.Context, r *route, client *net.TCPConn, err error) {
	if !errors.Is(err, errHoldOver) {
		if errors.Is(err, errClientLeft) {
			p.metrics.abandoned.Inc()
		}
		reset(client)
		return
	}
	reason := "not_ready"
	if r.current().leader.nobody() {
		reason = "no_leader"
	}
	p.metrics.refusals.WithLabelValues(reason).Inc()
	if err := refuse(ctx, client, r.instance); err != nil {
		r.log.Debug("refusing a connection", "err", err)
	}
}
