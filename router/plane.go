package router

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// plane makes courses true in user space. One goroutine changes routes and
// listeners; event loops accept clients, join them with leaders and move bytes.
type plane struct {
	cfg      Config
	log      *slog.Logger
	metrics  *metrics
	orders   *orders
	failures failures
	sockets  sockets
	prober   *prober
	limits   *limits
	breaker  *breaker
	spare    *spare
	fast     *fastPath
	// given is the kernel, once it leads, and lanes what steer has made of it.
	given chan *lanes
	lanes *lanes
	// started is closed when the first courses have been followed, leaving when no
	// other client shall be let in.
	started, leaving chan struct{}

	// ctx lasts as long as run, and so does every wait. loops are made by run.
	ctx   context.Context
	loops loops
	// routes, readings, ports and shut belong to run, the first two by instance.
	// shut are those of the ports that are not open yet.
	routes   map[string]*route
	readings map[string]*reading
	ports    map[portKey]*port
	shut     map[portKey]*port
	// breaks is how often the circuit has been broken, as far as run has heeded it, and
	// cleared whether the grace of the last break is over.
	breaks  uint64
	cleared bool
	// conns counts the goroutines of connections that wait or are refused.
	conns sync.WaitGroup
}

func newPlane(cfg Config, m *metrics, log *slog.Logger) *plane {
	p := &plane{
		cfg: cfg, log: log, metrics: m, sockets: newSockets(cfg),
		prober:  newProber(cfg.DialTimeout, m, log),
		limits:  newLimits(cfg),
		orders:  newOrders(),
		breaker: newBreaker(cfg, log),
		spare:   newSpare(),
		started: make(chan struct{}), leaving: make(chan struct{}),
		routes: map[string]*route{}, readings: map[string]*reading{},
		ports: map[portKey]*port{}, shut: map[portKey]*port{},
		given: make(chan *lanes),
	}
	p.fast = newFastPath(cfg, p)
	return p
}

// run follows the orders until ctx ends. Then it closes everything and waits
// until every connection has ended.
func (p *plane) run(ctx context.Context) error {
	var err error
	if p.loops, err = newLoops(p.cfg.Loops); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	p.ctx = ctx
	p.breaker.begin(ctx)
	for _, l := range p.loops {
		g.Go(l.run)
	}
	g.Go(func() error {
		p.endSilent(ctx)
		return nil
	})
	g.Go(func() error {
		defer p.close()
		p.steer(ctx)
		return nil
	})
	err = g.Wait()
	p.conns.Wait()
	p.prober.close()
	return err
}

// steer follows the orders until ctx ends.
func (p *plane) steer(ctx context.Context) {
	retry, grace := time.NewTimer(idle), time.NewTimer(idle)
	defer retry.Stop()
	defer grace.Stop()
	leaving := p.leaving
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.orders.news:
			p.follow(p.orders.take())
		case <-p.breaker.news:
			p.heed(grace)
			continue
		case <-grace.C:
			p.clear()
			continue
		case p.lanes = <-p.given:
			p.attachAll()
			continue
		case <-leaving:
			leaving = nil
			p.closePorts()
		case <-retry.C:
		}
		if leaving != nil {
			retry.Reset(p.openPorts())
			p.start()
		}
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
	if p.lanes != nil && held.reading == nil {
		p.fast.join(uint16(held.number), held.route)
		held.route.attach(lane{lanes: p.lanes, port: uint16(held.number)})
		if p.cleared {
			held.route.expel()
		}
	}
}

// follow takes in what changed: leaders first, because sessions to be cut can
// not wait; then the ports that are given up, so that others may have them.
func (p *plane) follow(courses map[string]course) {
	for id, c := range courses {
		if c.port != 0 {
			r := p.route(id)
			r.steer(c.leader)
			r.limit.Store(int64(c.limit))
		}
		p.followReads(c)
	}
	for id, c := range courses {
		p.giveUpUnless(portKey{id, false}, c.port)
		p.giveUpUnless(portKey{id, true}, c.reads.port)
		if c.port == 0 {
			p.forget(id)
		}
	}
	for id, c := range courses {
		p.want(&port{key: portKey{id, false}, number: c.port, route: p.routes[id]})
		p.want(&port{key: portKey{id, true}, number: c.reads.port, route: p.routes[id], reading: p.readings[id]})
	}
}

// followReads takes in what changed of an instance's replicas.
func (p *plane) followReads(c course) {
	d := p.readings[c.instance]
	if d == nil && c.reads.port != 0 {
		d = newReading(p, p.routes[c.instance])
		p.readings[c.instance] = d
	}
	if d == nil {
		return
	}
	d.steer(c)
	if c.reads.port == 0 {
		d.close()
		delete(p.readings, c.instance)
	}
}

// want has a port opened, unless it is there or has no number.
func (p *plane) want(wanted *port) {
	if wanted.number != 0 && p.ports[wanted.key] == nil {
		p.ports[wanted.key], p.shut[wanted.key] = wanted, wanted
	}
}

// giveUpUnless closes a port that has not the right number any more.
func (p *plane) giveUpUnless(key portKey, number int) {
	if held := p.ports[key]; held != nil && held.number != number {
		p.giveUp(held)
	}
}

// route returns the route of an instance and makes it if need be.
func (p *plane) route(instance string) *route {
	r := p.routes[instance]
	if r == nil {
		r = newRoute(p.ctx, instance, p.metrics, p.log)
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
	delete(p.ports, held.key)
	delete(p.shut, held.key)
	if held.reading == nil {
		held.route.detach()
		p.fast.leave(uint16(held.number))
	}
	p.failures.remove(held.number)
	p.log.Info("port closed", "instance", held.route.instance, "port", held.number)
}

func (p *plane) closePorts() {
	for _, held := range p.ports {
		held.close()
	}
}

// close closes every port, cuts every session and stops the loops. What the
// kernel leads, it keeps or ends itself, as it was told.
func (p *plane) close() {
	p.closePorts()
	for _, d := range p.readings {
		d.close()
	}
	for _, r := range p.routes {
		r.letGo()
		r.close()
	}
	for _, l := range p.loops {
		l.stop()
	}
}
