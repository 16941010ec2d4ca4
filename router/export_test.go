package router

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/pgpatron/pgpatron/state"
)

// ReadStartup is readStartup for the fuzz test.
func ReadStartup(client io.ReadWriter) (user, database string, err error) {
	s, err := readStartup(client)
	return s.user, s.database, err
}

// LocalPortProblem is localPortProblem, which Run asks of this host's settings.
func LocalPortProblem(ports state.Ports, local, reserved string) string {
	return localPortProblem(ports, local, reserved)
}

// PauseBetween returns how long the leader of one member's reign waits for its
// question after another member, or the same, was asked in the reign before.
func PauseBetween(before, now string) time.Duration {
	s := probing{}
	s.enter(newReign(context.Background(), leader{member: before}))
	s.asked = time.Now().Add(time.Hour)
	s.enter(newReign(context.Background(), leader{member: now}))
	return s.pause()
}

// Distance is distance, from one question to a leader to the next.
func Distance(waited time.Duration) time.Duration { return distance(waited) }

// Choose is choose, which a prober does with the addresses of a name.
func Choose(ctx context.Context, all ...netip.AddrPort) netip.AddrPort {
	return newProber(time.Minute, nil, nil).choose(ctx, all)
}

// IsSilent is isSilent, which the event loops ask of sockets.
func IsSilent(info *unix.TCPInfo, limit time.Duration) bool { return isSilent(info, limit) }

// NewRegistration returns what tells etcd of a router, for an engine without sessions.
func NewRegistration(schema *state.Schema, cfg Config) state.Reactor {
	cfg.Registry = prometheus.NewRegistry()
	return newRegistration(schema, cfg, &plane{breaker: newBreaker(cfg, slog.Default())}, slog.Default())
}

// OfferWithoutLane has a route offer its leader to a kernel that has just been
// taken from it.
func OfferWithoutLane(t testing.TB) {
	r := newRoute(t.Context(), "a", newMetrics(prometheus.NewRegistry()), slog.Default())
	r.offer(r.current(), netip.MustParseAddrPort("10.0.0.1:5432"))
}

// Census counts the sessions of one route, of which the functions say what the kernel
// would.
type Census struct {
	// Opened is how many the kernel has ever led, Open how many are open.
	Opened, Open func() int
	census       *census
	route        *route
}

// NewCensus returns one of a route with a limit.
func NewCensus(t testing.TB, limit int) *Census {
	l := newLimits(Config{MaxInstanceSessions: limit})
	r := newRoute(t.Context(), "a", newMetrics(prometheus.NewRegistry()), slog.Default())
	r.lane = lane{lanes: &lanes{limits: l}}
	c := &Census{route: r}
	c.census = &census{kernel: told{c}, limits: l}
	return c
}

// Count counts once.
func (c *Census) Count() error { return c.census.count(map[uint16]*route{0: c.route}) }

// Cut does to the count what a cut does.
func (c *Census) Cut() {
	c.route.mu.Lock()
	defer c.route.mu.Unlock()
	c.route.uncount()
}

// Led returns how many sessions of the route, and in all, are taken to be in the kernel.
func (c *Census) Led() (ofRoute, all int64) { return c.route.led.Load(), c.census.limits.led.Load() }

// told is the kernel of a Census.
type told struct{ *Census }

func (k told) Opened() (map[uint16]uint64, error) {
	return map[uint16]uint64{0: uint64(k.Census.Opened())}, nil
}

func (k told) Open() (map[uint16]int, error) { return map[uint16]int{0: k.Census.Open()}, nil }

// Outage is a plane that heeds its breaker only when it is told to.
type Outage struct {
	plane *plane
	grace *time.Timer
}

// NewOutage returns one with a grace that no test outlives.
func NewOutage() *Outage {
	cfg := Config{BreakGrace: time.Hour, Registry: prometheus.NewRegistry()}
	o := &Outage{plane: &plane{cfg: cfg, breaker: newBreaker(cfg, slog.Default())}, grace: time.NewTimer(idle)}
	o.grace.Stop()
	return o
}

// Turn breaks or closes the circuit.
func (o *Outage) Turn(on bool) { o.plane.breaker.turn(on) }

// Heed has the plane heed what was turned, and reports whether the grace has begun.
func (o *Outage) Heed() (begun bool) {
	o.plane.heed(o.grace)
	return o.grace.Stop()
}

// End says that the grace is over, and reports whether the plane has cut its sessions.
func (o *Outage) End() (cut bool) {
	o.plane.clear()
	return o.plane.cleared
}
