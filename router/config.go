package router

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pgpatron/pgpatron/state"
)

// Config configures a Router.
type Config struct {
	// Listen is the address on which the public ports are opened. Default: every
	// address of this host, IPv4 and IPv6.
	Listen netip.Addr
	// IP is this router's own address, by which it registers itself in etcd. No
	// two running routers may share both IP and PID.
	IP netip.Addr
	// PID is the other half of the name in etcd. Default: this process's.
	PID int
	// Ports is the range that public ports are handed out from. It is only
	// compared with the ports that the kernel hands out: what is allocated is
	// served. Default 30000-30999.
	Ports state.Ports
	// Hold is how long a connection waits for a leader before it is refused.
	// Default 30 s.
	Hold time.Duration
	// DialTimeout bounds one attempt to reach a leader. Default 3 s.
	DialTimeout time.Duration
	// KeepAlive is how long a connection may be silent before its peer is asked
	// for a sign of life; after three questions without an answer, a third of
	// this apart, it is over. It holds on both sides of a session. Default 15 s.
	KeepAlive time.Duration
	// UserTimeout is TCP_USER_TIMEOUT, on both sides of a session: how long what
	// was sent may stay unacknowledged. Linux counts the time in which a peer does
	// not read, too, so that this also ends the session of a client that has
	// stopped in the middle of a result. Default 0: not set. A peer that
	// acknowledges nothing although it is asked is noticed after twice KeepAlive.
	UserTimeout time.Duration
	// MaxSessions is how many clients are served at once, those that wait and those
	// in the kernel included. Default 0: as many as the limit of open files allows
	// in user space, and as many as come in the kernel.
	MaxSessions int
	// MaxInstanceSessions is how many clients of one instance are served at once,
	// if its plan does not say. Default 2000.
	MaxInstanceSessions int
	// MaxHeld and MaxInstanceHeld are how many clients may wait for a leader at
	// once, in all and of one instance. Default 10000 and 1000.
	MaxHeld, MaxInstanceHeld int
	// MaxLag and MaxLagTime are how far a replica may be behind its leader, in bytes
	// of WAL and in time, to be given readers. Default 16 MiB and 10 s.
	MaxLag     int64
	MaxLagTime time.Duration
	// ReplicaFallback says what becomes of readers for whom there is no replica.
	// Default: FallBackToLeader.
	ReplicaFallback ReplicaFallback
	// ReplicaGrace is how long the readers of a replica that is not given new ones
	// may stay. Default 30 s.
	ReplicaGrace time.Duration
	// BreakGrace is how long sessions may go on when an operator has broken the
	// circuit of this router, or switched off the replica that they read from: there
	// they go after ReplicaGrace at the latest. Default 0: they are cut at once.
	BreakGrace time.Duration
	// Drain is how long sessions may go on after Run was told to end. Default 0:
	// they are cut at once.
	Drain time.Duration
	// TableFile is where the router keeps what it knows of instances and leaders,
	// for a start without etcd. Default: nowhere.
	TableFile string
	// Loops is how many event loops serve the clients. Default: one for each core.
	Loops int
	// DataPlane says what moves the bytes of sessions. Default: UserPlane, without a
	// look at what an earlier router may have left in the kernel.
	DataPlane DataPlane
	// LeaveRules has what the kernel leads stay when Run ends, for a router that is
	// started again at once and adopts it. Meanwhile nobody cuts what a leader
	// that is deposed has. Default: it is cut, and every rule removed.
	LeaveRules bool
	// Metrics is the host:port of /metrics and /healthz. Default 127.0.0.1:8890.
	Metrics string
	// SessionTTL is how long etcd keeps what this router says of itself when it
	// falls silent. Default 10 s.
	SessionTTL time.Duration
	// Log defaults to slog.Default.
	Log *slog.Logger
	// Registry takes the metrics and is what /metrics shows. Default: a new one.
	Registry *prometheus.Registry
}

// WithDefaults returns the configuration with every default filled in.
func (c Config) WithDefaults() Config {
	if c.PID == 0 {
		c.PID = os.Getpid()
	}
	if c.Ports == (state.Ports{}) {
		c.Ports = state.Ports{First: 30000, Last: 30999}
	}
	if c.Metrics == "" {
		c.Metrics = "127.0.0.1:8890"
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	c.Hold = cmp.Or(c.Hold, 30*time.Second)
	c.DialTimeout = cmp.Or(c.DialTimeout, 3*time.Second)
	c.KeepAlive = cmp.Or(c.KeepAlive, 15*time.Second)
	c.MaxLag = cmp.Or(c.MaxLag, 16<<20)
	c.MaxLagTime = cmp.Or(c.MaxLagTime, 10*time.Second)
	c.ReplicaFallback = cmp.Or(c.ReplicaFallback, FallBackToLeader)
	c.ReplicaGrace = cmp.Or(c.ReplicaGrace, 30*time.Second)
	c.SessionTTL = cmp.Or(c.SessionTTL, 10*time.Second)
	c.MaxInstanceSessions = cmp.Or(c.MaxInstanceSessions, 2000)
	c.MaxHeld = cmp.Or(c.MaxHeld, 10000)
	c.MaxInstanceHeld = cmp.Or(c.MaxInstanceHeld, 1000)
	c.Loops = cmp.Or(c.Loops, runtime.GOMAXPROCS(0))
	return c
}

// Validate reports every problem at once, each naming its key. It expects the
// defaults to be filled in.
func (c Config) Validate() error {
	var errs []error
	if !c.IP.IsValid() || c.IP.IsUnspecified() {
		errs = append(errs, errors.New("router.ip: must be an address of this router"))
	}
	if c.Ports.First < 1 || c.Ports.Last > 65535 || c.Ports.First > c.Ports.Last {
		errs = append(errs, fmt.Errorf("router.ports: must be FIRST-LAST within 1-65535, got %v", c.Ports))
	}
	if _, err := ParseDataPlane(string(c.DataPlane)); err != nil && c.DataPlane != "" {
		errs = append(errs, fmt.Errorf("router.data_plane: %w", err))
	}
	if _, _, err := net.SplitHostPort(c.Metrics); err != nil {
		errs = append(errs, fmt.Errorf("router.metrics: must be host:port, got %q", c.Metrics))
	}
	if _, err := ParseReplicaFallback(string(c.ReplicaFallback)); err != nil {
		errs = append(errs, fmt.Errorf("router.replica_fallback: %w", err))
	}
	if c.MaxSessions < 0 {
		errs = append(errs, fmt.Errorf("router.max_sessions: must not be negative, got %d", c.MaxSessions))
	}
	for _, field := range []struct {
		key   string
		value int
	}{
		{"router.max_instance_sessions", c.MaxInstanceSessions},
		{"router.max_lag", int(c.MaxLag)},
		{"router.max_held", c.MaxHeld},
		{"router.max_instance_held", c.MaxInstanceHeld},
		{"router.loops", c.Loops},
	} {
		if field.value < 1 {
			errs = append(errs, fmt.Errorf("%s: must be positive, got %d", field.key, field.value))
		}
	}
	for _, field := range []struct {
		key   string
		value time.Duration
		least time.Duration
	}{
		{"router.hold", c.Hold, 1},
		{"router.dial_timeout", c.DialTimeout, 1},
		{"router.keep_alive", c.KeepAlive, 3 * time.Second},
		{"router.user_timeout", c.UserTimeout, 0},
		{"router.max_lag_time", c.MaxLagTime, time.Second},
		{"router.replica_grace", c.ReplicaGrace, 1},
		{"router.break_grace", c.BreakGrace, 0},
		{"router.drain", c.Drain, 0},
		{"router.session_ttl", c.SessionTTL, time.Second},
	} {
		if field.value < field.least {
			errs = append(errs, fmt.Errorf("%s: must be %s, got %v", field.key, atLeast(field.least), field.value))
		}
	}
	return errors.Join(errs...)
}

func atLeast(d time.Duration) string {
	switch d {
	case 0:
		return "zero or positive"
	case 1:
		return "positive"
	}
	return "at least " + d.String()
}
