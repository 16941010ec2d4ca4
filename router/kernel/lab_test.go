package kernel_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/fixtures/netlab"
	"github.com/pgpatron/pgpatron/router/kernel"
)

func TestMain(m *testing.M) { os.Exit(netlab.Main(m)) }

// leaderPort is that of the lab's leaders; real ones have PostgreSQL's beside it.
const leaderPort = 6432

// lab is a router's host with clients and leaders around it.
type lab struct {
	t       testing.TB
	router  *netlab.Host
	clients map[string]client
	// l1 and l2 are leaders on other hosts, by family of their address.
	l1, l2 map[string]*server
	// hosts are those of l1 and l2.
	hosts [2]*netlab.Host
	port  int
	// user is what listens in user space.
	user *server
}

// client is where connections come from, and the router as it is seen there, by
// family.
type client struct {
	host   *netlab.Host
	router map[string]string
}

// families are the names of what is tested of each address family.
var families = []string{"ipv4", "ipv6"}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, router: netlab.Here(t), port: 30006}
	l.router.Forward(t)
	join := func(name string, n int) *netlab.Host {
		host := netlab.NewHost(t, name)
		netlab.Join(t, l.router, host, fmt.Sprintf("10.91.%d.0/24", n), fmt.Sprintf("fd91:%d::/64", n))
		host.Route(t, "default", fmt.Sprintf("10.91.%d.1", n))
		host.Route(t, "default", fmt.Sprintf("fd91:%d::1", n))
		return host
	}
	direct, gate := join("direct", 1), join("gate", 2)
	behind := netlab.NewHost(t, "behind")
	netlab.Join(t, gate, behind, "10.92.1.0/24", "fd92:1::/64")
	behind.Route(t, "default", "10.92.1.1")
	behind.Route(t, "default", "fd92:1::1")
	gate.Forward(t)
	gate.Masquerade(t, "10.92.1.0/24")
	gate.Masquerade(t, "fd92:1::/64")
	container := join("container", 3)
	l.hideContainers()
	l.clients = map[string]client{
		"direct":    {direct, addresses(1)},
		"natted":    {behind, addresses(2)},
		"container": {container, addresses(3)},
		"local":     {l.router, addresses(1)},
	}
	l.hosts = [2]*netlab.Host{join("leader1", 11), join("leader2", 12)}
	l.l1, l.l2 = newServers(t, l.hosts[0], 11), newServers(t, l.hosts[1], 12)
	l.user = newServer(t, l.router, ":"+strconv.Itoa(l.port))
	return l
}

// in returns the lab for a subtest.
func (l *lab) in(t testing.TB) *lab {
	sub := *l
	sub.t, sub.clients = t, maps.Clone(l.clients)
	return &sub
}

// hideContainers does on the router's host what Docker does there.
func (l *lab) hideContainers() {
	l.router.Masquerade(l.t, "10.91.3.0/24")
	l.router.Masquerade(l.t, "fd91:3::/64")
}

// addresses are those of the router in network n.
func addresses(n int) map[string]string {
	return map[string]string{"ipv4": fmt.Sprintf("10.91.%d.1", n), "ipv6": fmt.Sprintf("fd91:%d::1", n)}
}

// start runs a plane until the test ends or stop is called.
func (l *lab) start(cfg kernel.Config) (p *kernel.Plane, stop func()) {
	l.t.Helper()
	if cfg.Log == nil {
		cfg.Log = fixtures.Log(l.t)
	}
	p, err := kernel.Open(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Errorf("Run: %v", err)
		}
	})
	l.t.Cleanup(stop)
	return p, stop
}

// dial connects a client to the public port and says what it wants.
func (l *lab) dial(kind, family string, want byte) (*net.TCPConn, error) {
	c := l.clients[kind]
	conn, err := c.host.Dial(context.Background(), &net.Dialer{Timeout: fixtures.Patience}, net.JoinHostPort(c.router[family], strconv.Itoa(l.port)))
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write([]byte{want}); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// reach waits until connections of a client lead to a server.
func (l *lab) reach(kind, family string, s *server) {
	l.t.Helper()
	for deadline := time.Now().Add(fixtures.Patience); ; {
		before := s.opened.Load()
		if conn, err := l.dial(kind, family, echo); err == nil {
			conn.Write([]byte{0})
			conn.SetReadDeadline(time.Now().Add(time.Second))
			_, err := conn.Read(make([]byte, 1))
			conn.Close()
			if err == nil && s.opened.Load() > before {
				return
			}
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("%s, %s: connections do not lead to %s", kind, family, s.addr)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// What a client can want of a server.
const (
	echo      byte = 'e' // what it sends
	receiving byte = 'r' // bytes without an end
	sending   byte = 's' // to be read, without an end
	idle      byte = 'i' // nothing
	leaving   byte = 'l' // that the server leaves
)

// server does what its clients want and counts them.
type server struct {
	addr         netip.AddrPort
	listener     *net.TCPListener
	opened, open atomic.Int64
	conns        sync.Map
}

func newServers(t testing.TB, h *netlab.Host, n int) map[string]*server {
	return map[string]*server{
		"ipv4": newServer(t, h, fmt.Sprintf("10.91.%d.2:%d", n, leaderPort)),
		"ipv6": newServer(t, h, fmt.Sprintf("[fd91:%d::2]:%d", n, leaderPort)),
	}
}

func newServer(t testing.TB, h *netlab.Host, addr string) *server {
	t.Helper()
	s := &server{listener: h.Listen(t, addr)}
	s.addr, _ = netip.ParseAddrPort(addr) // a listener on every address has none
	go s.serve()
	t.Cleanup(s.end)
	return s
}

func (s *server) serve() {
	for {
		conn, err := s.listener.AcceptTCP()
		if err != nil {
			return
		}
		s.conns.Store(conn, nil)
		go s.handle(conn)
	}
}

// end closes the listener and every connection, as a server that is stopped does.
func (s *server) end() {
	s.listener.Close()
	s.conns.Range(func(conn, _ any) bool { conn.(*net.TCPConn).Close(); return true })
}

func (s *server) handle(conn *net.TCPConn) {
	s.opened.Add(1)
	s.open.Add(1)
	defer s.open.Add(-1)
	defer s.conns.Delete(conn)
	defer conn.Close()
	want := make([]byte, 1)
	if _, err := io.ReadFull(conn, want); err != nil {
		return
	}
	switch want[0] {
	case echo:
		echoAll(conn)
	case receiving:
		flood(conn)
	case sending, idle:
		io.Copy(io.Discard, conn)
	}
}

func echoAll(conn *net.TCPConn) error {
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return err
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return err
		}
	}
}

func flood(conn *net.TCPConn) error {
	buffer := make([]byte, 64<<10)
	for {
		if _, err := conn.Write(buffer); err != nil {
			return err
		}
	}
}

// live is what a client does until its connection ends; it returns how.
func live(conn *net.TCPConn, want byte) error {
	defer conn.Close()
	switch want {
	case echo:
		if _, err := conn.Write([]byte("round and round")); err != nil {
			return err
		}
		return echoAll(conn)
	case sending:
		return flood(conn)
	}
	_, err := io.Copy(io.Discard, conn)
	if err == nil {
		return io.EOF
	}
	return err
}

// eventually polls until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(fixtures.Patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

var errHangs = errors.New("it hangs")

// addr is the router's IPv4 address as a client sees it.
func (l *lab) addr(kind string) netip.Addr {
	return netip.MustParseAddr(l.clients[kind].router["ipv4"])
}

func mustAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// expectReset waits until a connection has been reset.
func (l *lab) expectReset(conn net.Conn) {
	l.t.Helper()
	conn.SetDeadline(time.Now().Add(fixtures.Patience))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		l.t.Errorf("connection ended with %v, want a reset", err)
	}
}

// hole makes an address that nobody can reach: the way there ends at a host that
// says so, or says nothing.
func (l *lab) hole(addr string, silent bool) {
	l.t.Helper()
	hole := netlab.NewHost(l.t, "hole")
	netlab.Join(l.t, l.router, hole, "10.91.99.0/24")
	hole.Route(l.t, "10.91.0.0/16", "10.91.99.1")
	hole.Forward(l.t)
	if silent {
		hole.Sysctl(l.t, "net.ipv4.ip_forward", "0")
	}
	l.router.Route(l.t, addr, "10.91.99.2")
}

// tables are the names of all tables of nftables on the router's host.
func (l *lab) tables() []string {
	l.t.Helper()
	tables, err := l.nft().ListTables()
	if err != nil {
		l.t.Fatal(err)
	}
	var names []string
	for _, table := range tables {
		names = append(names, table.Name)
	}
	return names
}

// leads reports whether the kernel leads an IPv4 port.
func (l *lab) leads(port uint16) bool { return slices.Contains(l.ledPorts(), port) }

// ledPorts are the IPv4 ports that the kernel leads.
func (l *lab) ledPorts() (ports []uint16) {
	table := &nftables.Table{Name: "pgpatron", Family: nftables.TableFamilyIPv4}
	elements, err := l.nft().GetSetElements(&nftables.Set{Table: table, Name: "leaders"})
	if err != nil {
		return nil // there is no table yet
	}
	for _, e := range elements {
		ports = append(ports, binary.BigEndian.Uint16(e.Key))
	}
	return ports
}

func (l *lab) nft() *nftables.Conn {
	l.t.Helper()
	c, err := nftables.New()
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}
