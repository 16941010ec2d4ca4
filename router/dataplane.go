package router

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/router/kernel"
)

// DataPlane says what moves the bytes of sessions.
type DataPlane string

const (
	// UserPlane moves them through this process.
	UserPlane DataPlane = "user"
	// KernelPlane has the kernel lead connections past this process, which serves
	// those for which that is not possible. Without it the router does not run.
	KernelPlane DataPlane = "kernel"
	// AutoPlane is KernelPlane where this host can do it, and UserPlane elsewhere.
	AutoPlane DataPlane = "auto"
)

// ParseDataPlane reads a DataPlane.
func ParseDataPlane(s string) (DataPlane, error) {
	switch d := DataPlane(s); d {
	case UserPlane, KernelPlane, AutoPlane:
		return d, nil
	}
	return "", fmt.Errorf("want auto, kernel or user, got %q", s)
}

// takeoverInterval is how often a router tries to take the kernel over from
// another one that is about to end.
const takeoverInterval = time.Second

// fastPath is the kernel as this router has it, if it has.
type fastPath struct {
	cfg   Config
	plane *plane

	// mu guards the rest.
	mu     sync.Mutex
	kernel *kernel.Plane
	reason string
	// routes are those that the kernel may lead, by port.
	routes map[uint16]*route
	gauge  *prometheus.GaugeVec
}

func newFastPath(cfg Config, p *plane) *fastPath {
	f := &fastPath{cfg: cfg, plane: p, routes: map[uint16]*route{}}
	f.gauge = promauto.With(cfg.Registry).NewGaugeVec(prometheus.GaugeOpts{
		Name: "pgpatron_router_data_plane", Help: "1 for the data plane that new sessions use, with the reason.",
	}, []string{"plane", "reason"})
	cfg.Registry.MustRegister(f)
	f.say(UserPlane, "not decided yet")
	return f
}

// run has the kernel lead, if it may and can, until ctx ends.
func (f *fastPath) run(ctx context.Context) error {
	switch f.cfg.DataPlane {
	case "":
		f.tell(UserPlane, "default")
		return nil
	case UserPlane:
		f.tell(UserPlane, "configured")
		f.clear()
		return nil
	}
	k, err := f.open(ctx)
	switch {
	case ctx.Err() != nil:
		if k != nil {
			return k.Run(ctx)
		}
		return nil
	case err != nil && f.cfg.DataPlane == KernelPlane:
		return fmt.Errorf("router.data_plane: the kernel can not be used: %w", err)
	case err != nil:
		f.tell(UserPlane, err.Error())
		f.clear()
		return nil
	}
	f.mu.Lock()
	f.kernel = k
	f.mu.Unlock()
	f.tell(KernelPlane, "nothing is in its way")
	f.plane.take(ctx, &lanes{
		kernel: k, prober: f.plane.prober, limits: f.plane.limits, breaker: f.plane.breaker, run: f.plane.conns.Go,
	})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return newCensus(f, k).run(ctx) })
	g.Go(func() error { return k.Run(ctx) })
	return g.Wait()
}

// clear removes what an earlier router has left in the kernel, where nobody would
// cut it now.
func (f *fastPath) clear() {
	found, err := kernel.Remove(f.plane.log)
	switch {
	case err != nil:
		f.plane.log.Error("an earlier router may still lead in the kernel; mend it with: nft delete table ip pgpatron; nft delete table ip6 pgpatron", "err", err)
	case found:
		f.plane.log.Info("removed what an earlier router led in the kernel")
	}
}

// open opens the kernel's plane. Another router that has it is waited for: it may
// be the one that this one replaces.
func (f *fastPath) open(ctx context.Context) (*kernel.Plane, error) {
	for told := false; ; told = true {
		k, err := kernel.Open(kernel.Config{
			Listen: f.cfg.Listen, Ports: fmt.Sprintf("%d:%d", f.cfg.Ports.First, f.cfg.Ports.Last),
			LeaveRules: f.cfg.LeaveRules, Doubted: f.doubt, Log: f.plane.log,
		})
		if !errors.Is(err, kernel.ErrBusy) {
			return k, err
		}
		if !told {
			f.tell(UserPlane, err.Error())
		}
		if err := sleep(ctx, takeoverInterval); err != nil {
			return nil, err
		}
	}
}

// tell says which plane is used and why: in the log, the metrics and /healthz.
func (f *fastPath) tell(plane DataPlane, reason string) {
	f.plane.log.Info("data plane chosen", "plane", string(plane), "configured", string(f.cfg.DataPlane), "reason", reason)
	f.say(plane, reason)
}

func (f *fastPath) say(plane DataPlane, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reason = reason
	f.gauge.Reset()
	f.gauge.WithLabelValues(string(plane), reason).Set(1)
}

// health is what /healthz tells of the data plane.
func (f *fastPath) health() DataPlaneHealth {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := DataPlaneHealth{Plane: UserPlane, Reason: f.reason}
	if f.kernel != nil {
		h.Plane = KernelPlane
	}
	return h
}

// sessions returns how many sessions the kernel has that would end with this
// router.
func (f *fastPath) sessions() int {
	f.mu.Lock()
	k := f.kernel
	f.mu.Unlock()
	if k == nil || f.cfg.LeaveRules {
		return 0
	}
	ports, err := k.Counters()
	if err != nil {
		f.plane.log.Warn("counting the kernel's sessions", "err", err)
		return 0
	}
	n := 0
	for _, c := range ports {
		n += c.Open
	}
	return n
}

// join notes that the kernel may lead a port to the leader of a route.
func (f *fastPath) join(port uint16, r *route) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes[port] = r
}

// led returns the routes that the kernel may lead, by port.
func (f *fastPath) led() map[uint16]*route {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.routes)
}

// leave is the reverse of join.
func (f *fastPath) leave(port uint16) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.routes, port)
}

// doubt passes the kernel's doubt about a leader on.
func (f *fastPath) doubt(port uint16) {
	f.mu.Lock()
	r := f.routes[port]
	f.mu.Unlock()
	if r != nil {
		r.doubt(r.current())
	}
}
