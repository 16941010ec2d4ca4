// Package kernel leads connections to leaders inside the Linux kernel: the first
// packet of a connection is rewritten by a rule of nftables, and all that follow
// by the kernel's connection tracking. No byte of them passes through the process.
//
// It is a fast path over a router in user space, which must listen on the same
// ports. A port that the kernel leads nowhere falls through to that listener: so
// it does while there is no leader, while one has to be looked at, and while
// something is wrong with the path. Connections stay where they began.
//
//	p, err := kernel.Open(kernel.Config{Doubted: lookAtLeaderOf})
//	if err != nil {
//		return err // it says why this host can not do it
//	}
//	go p.Run(ctx)
//	p.Offer(30006, netip.MustParseAddrPort("10.0.0.11:5432")) // a leader that takes writes
//	p.Cut(30006)                                              // it leads no more
//
// What it leads survives the process: the next one adopts it.
package kernel

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/nftables"
)

// Config configures a Plane.
type Config struct {
	// Listen is the address of this host that connections are led from. Default:
	// every one but those of the loopback network.
	Listen netip.Addr
	// Ports is the range that public ports are handed out from, FIRST:LAST. It is
	// only told, in the command that opens a firewall.
	Ports string
	// LeaveRules says that what is led stays led when Run ends, though nobody
	// watches it then. Default: every connection is ended and no rule is left.
	LeaveRules bool
	// Doubted is called, from Run, with a port whose leader has to be looked at
	// before it is offered again: it has ended a connection by itself, or it did
	// not answer. No new connection is led there meanwhile. It must not block.
	Doubted func(port uint16)
	// Log defaults to slog.Default.
	Log *slog.Logger
}

// Plane leads ports. Make it with Open, then call Run once; Adopt, Offer, Hold,
// Cut and Settle may be called from anywhere, at any time, and do not block.
type Plane struct {
	cfg  Config
	log  *slog.Logger
	lock net.Listener

	// What follows belongs to Run.
	conn    *nftables.Conn
	tables  map[*family]*table
	tracker *tracker
	poker   *poker
	ledger  ledger
	paths   *paths
	repeats []repeat
	// mended is whether orders may have been lost on the way to the tables.
	mended bool
	// full is whether it has been told that this host can hardly track more.
	full bool

	wake chan struct{}
	// mu guards orders and settled: what Run has not yet done.
	mu      sync.Mutex
	orders  map[uint16][]order
	settled bool

	// leading has the ports that may be led, and those whose doubts are not told yet;
	// ending those that were told to be cut and may still have flows.
	leading, ending portSet
	// asking guards asker, which all share who only read the tables. Who has a
	// connection to lead waits for it, so it is not held while teller counts.
	asking sync.Mutex
	asker  *nftables.Conn
	teller *teller
}

// order is what is to become of a port: its connections are cut if cut says so,
// and then new ones go to leader, if there is one.
type order struct {
	leader netip.AddrPort
	cut    bool
	// adopt says that leader need not be offered if the port leads there already.
	adopt bool
}

// ErrBusy says that another process leads ports in this network namespace.
var ErrBusy = errors.New("another router of this host leads in the kernel")

// Open prepares this host, takes over what an earlier process has left, and
// returns an error that says what is in the way if this host can not do it. It
// leads nothing new yet.
func Open(cfg Config) (*Plane, error) {
	p := newPlane(cfg)
	if err := p.open(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// Remove ends what an earlier process has left in the kernel, for one that will
// not lead there: every connection is cut and every rule removed. It reports
// whether there was anything. What another router has is not touched.
func Remove(log *slog.Logger) (found bool, err error) {
	if checkCapabilities() != nil {
		return false, nil
	}
	p := newPlane(Config{Log: log})
	err = p.connect()
	if err == nil {
		found, err = p.remove()
	}
	if errors.Is(err, ErrBusy) {
		err = nil
	}
	return found, errors.Join(err, p.close())
}

func newPlane(cfg Config) *Plane {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Doubted == nil {
		cfg.Doubted = func(uint16) {}
	}
	cfg.Listen = cfg.Listen.Unmap()
	return &Plane{
		cfg: cfg, log: cfg.Log, wake: make(chan struct{}, 1), orders: map[uint16][]order{},
		ledger: newLedger(), paths: newPaths(cfg.Ports, cfg.Log),
		tables: map[*family]*table{ipv4: newTable(ipv4, cfg.Listen), ipv6: newTable(ipv6, cfg.Listen)},
	}
}

// open looks at everything before it changes anything.
func (p *Plane) open() error {
	if err := checkHost(p.cfg.Listen); err != nil {
		return err
	}
	if err := p.connect(); err != nil {
		return err
	}
	if err := checkMarks(p.asker); err != nil {
		return err
	}
	if err := p.paths.survey(p.asker, time.Now()); err != nil {
		return err
	}
	return p.restore()
}

// connect opens all that Run needs, so that nothing is opened later: privileges
// may be dropped.
func (p *Plane) connect() (err error) {
	// The name is one of the network namespace, as the rules are.
	if p.lock, err = net.Listen("unix", "@pgpatron-kernel"); err != nil {
		return ErrBusy
	}
	if p.poker, err = dialPoker(); err != nil {
		return err
	}
	if p.tracker, err = dialTracker(p.cfg.Listen); err != nil {
		return err
	}
	if p.teller, err = dialTeller(p.cfg.Listen); err != nil {
		return err
	}
	p.asker, err = dialNftables()
	return err
}

// close closes what connect and restore have opened.
func (p *Plane) close() error {
	var errs []error
	if p.poker != nil {
		errs = append(errs, p.poker.close())
	}
	if p.tracker != nil {
		errs = append(errs, p.tracker.close())
	}
	if p.teller != nil {
		errs = append(errs, p.teller.close())
	}
	for _, conn := range []*nftables.Conn{p.conn, p.asker} {
		if conn != nil {
			errs = append(errs, conn.CloseLasting())
		}
	}
	if p.lock != nil {
		errs = append(errs, p.lock.Close())
	}
	return errors.Join(errs...)
}

// Adopt says who leads a port when the caller has just begun and does not know
// whether it takes writes: what an earlier process led there stays led there, and
// anything else is cut.
func (p *Plane) Adopt(port uint16, leader netip.AddrPort) {
	p.give(port, order{leader: unmapped(leader), adopt: true})
}

// Settle says that every port has been told of. What an earlier process led and
// nobody has adopted is cut.
func (p *Plane) Settle() {
	p.mu.Lock()
	p.settled = true
	p.mu.Unlock()
	p.awake()
}

// Offer has new connections to port led to leader, which takes writes. Those to
// another leader are cut before.
func (p *Plane) Offer(port uint16, leader netip.AddrPort) {
	p.give(port, order{leader: unmapped(leader)})
}

// Hold has new connections to port fall through to user space. Others stay.
func (p *Plane) Hold(port uint16) { p.give(port, order{}) }

// Cut ends every connection to port, and has new ones fall through to user
// space.
func (p *Plane) Cut(port uint16) {
	p.ending.add(port)
	p.give(port, order{cut: true})
}

func (p *Plane) give(port uint16, o order) {
	p.mu.Lock()
	p.orders[port] = append(p.orders[port], o)
	p.mu.Unlock()
	p.awake()
}

func (p *Plane) awake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take returns the orders that wait.
func (p *Plane) take() (orders map[uint16][]order, settled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	orders, settled = p.orders, p.settled
	p.orders, p.settled = map[uint16][]order{}, false
	return orders, settled
}

// Doubted reports whether the kernel knows of a reason to look at the leader of
// port before a connection goes there, which may not have been told yet.
func (p *Plane) Doubted(port uint16) bool {
	if !p.leading.has(port) {
		return false
	}
	p.asking.Lock()
	defer p.asking.Unlock()
	for _, t := range p.tables {
		for _, s := range []*nftables.Set{t.doubted, t.failed} {
			if ports, err := members(p.asker, s); err != nil || slices.Contains(ports, port) {
				return true
			}
		}
	}
	return false
}

// portSet is a set of ports for any number of goroutines.
type portSet [1 << 16 / 64]atomic.Uint64

func (s *portSet) add(port uint16)      { s[port/64].Or(1 << (port % 64)) }
func (s *portSet) remove(port uint16)   { s[port/64].And(^uint64(1 << (port % 64))) }
func (s *portSet) has(port uint16) bool { return s[port/64].Load()&(1<<(port%64)) != 0 }

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// repeat is when flows that have been cut are to be poked again.
type repeat struct {
	due   time.Time
	flows []flow
}
