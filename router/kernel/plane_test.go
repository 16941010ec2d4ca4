package kernel_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/fixtures/netlab"
	"github.com/pgpatron/pgpatron/router/kernel"
)

// TestPlane runs all that needs the lab, which takes a second to build.
func TestPlane(t *testing.T) {
	l := newLab(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *lab)
	}{
		{"CutEndsEveryKindOfConnection", cutEndsEveryKindOfConnection},
		{"LeadsEveryClientAndHoldKeepsConnections", leadsEveryClientAndHoldKeepsConnections},
		{"LeaderOnTheSameHost", leaderOnTheSameHost},
		{"LoopbackFallsThrough", loopbackFallsThrough},
		{"OnlyTheAddressListenedOnIsLed", onlyTheAddressListenedOnIsLed},
		{"AdoptsWhatAnEarlierRouterHasLeft", adoptsWhatAnEarlierRouterHasLeft},
		{"EndCutsAndLeavesNothing", endCutsAndLeavesNothing},
		{"FlushedRulesComeBack", flushedRulesComeBack},
		{"ServerThatEndsConnectionsIsDoubted", serverThatEndsConnectionsIsDoubted},
		{"Counters", counters},
		{"CountingKeepsNobodyWaiting", countingKeepsNobodyWaiting},
		{"OneRouterAtATime", oneRouterAtATime},
		{"RemoveCutsWhatIsLeft", removeCutsWhatIsLeft},
		{"BytesArriveAfterAnEarlyEnd", bytesArriveAfterAnEarlyEnd},
		{"ShortSessions", shortSessions},
		{"ResetsPass", resetsPass},
		{"StrayPacketsHarmNobody", strayPacketsHarmNobody},
		{"DockersFirewall", dockersFirewall},
		{"UnreachableLeaderFallsThrough", unreachableLeaderFallsThrough},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, l.in(t)) })
	}
}

// ask opens a connection that echoes, and checks that it does.
func (l *lab) ask(kind, family string) *net.TCPConn {
	l.t.Helper()
	conn, err := l.dial(kind, family, echo)
	if err != nil {
		l.t.Fatalf("%s, %s: %v", kind, family, err)
	}
	l.t.Cleanup(func() { conn.Close() })
	l.expectEcho(conn)
	return conn
}

func (l *lab) expectEcho(conn *net.TCPConn) {
	l.t.Helper()
	conn.SetDeadline(time.Now().Add(fixtures.Patience))
	if _, err := conn.Write([]byte{7}); err != nil {
		l.t.Fatalf("writing: %v", err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		l.t.Fatalf("reading what was written: %v", err)
	}
}

// portNumber is the lab's public port.
func (l *lab) portNumber() uint16 { return uint16(l.port) }

func leadsEveryClientAndHoldKeepsConnections(t *testing.T, l *lab) {
	p, _ := l.start(kernel.Config{})
	for _, family := range families {
		for kind := range l.clients {
			l.reach(kind, family, l.user)
		}
		p.Offer(l.portNumber(), l.l1[family].addr)
		l.reach("direct", family, l.l1[family])
		led := map[string]*net.TCPConn{}
		for kind := range l.clients {
			l.reach(kind, family, l.l1[family])
			led[kind] = l.ask(kind, family)
		}
		p.Hold(l.portNumber())
		for kind, conn := range led {
			l.reach(kind, family, l.user)
			l.expectEcho(conn)
		}
	}
}

// A leader on the router's own host is reached by every client, too, and can be cut.
func leaderOnTheSameHost(t *testing.T, l *lab) {
	p, _ := l.start(kernel.Config{})
	leader := newServer(t, l.router, "10.91.1.1:5433")
	p.Offer(l.portNumber(), leader.addr)
	for kind := range l.clients {
		l.reach(kind, "ipv4", leader)
	}
	for round := range *rounds {
		p.Offer(l.portNumber(), leader.addr)
		l.reach("direct", "ipv4", leader)
		lives := l.live("ipv4", round)
		p.Cut(l.portNumber())
		l.expectCut(round, lives)
		eventually(t, "the leader has no connection", func() bool { return leader.open.Load() == 0 })
	}
}

// Who connects to a loopback address is served by user space: the kernel would
// need route_localnet.
func loopbackFallsThrough(t *testing.T, l *lab) {
	p, _ := l.start(kernel.Config{})
	l.clients["loopback"] = client{l.router, map[string]string{"ipv4": "127.0.0.1", "ipv6": "::1"}}
	for _, family := range families {
		p.Offer(l.portNumber(), l.l1[family].addr)
		l.reach("local", family, l.l1[family])
		l.reach("loopback", family, l.user)
	}
}

func onlyTheAddressListenedOnIsLed(t *testing.T, l *lab) {
	p, _ := l.start(kernel.Config{Listen: l.addr("direct")})
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
	l.reach("natted", "ipv4", l.user)
	p.Cut(l.portNumber())
	l.reach("direct", "ipv4", l.user)
}

func adoptsWhatAnEarlierRouterHasLeft(t *testing.T, l *lab) {
	p, stop := l.start(kernel.Config{LeaveRules: true})
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
	kept := l.ask("natted", "ipv4")
	stop()
	l.reach("direct", "ipv4", l.l1["ipv4"])
	l.expectEcho(kept)

	p, stop = l.start(kernel.Config{LeaveRules: true})
	p.Adopt(l.portNumber(), l.l1["ipv4"].addr)
	p.Settle()
	l.reach("direct", "ipv4", l.l1["ipv4"])
	l.expectEcho(kept)
	stop()

	p, stop = l.start(kernel.Config{LeaveRules: true})
	p.Adopt(l.portNumber(), l.l2["ipv4"].addr)
	p.Settle()
	l.reach("direct", "ipv4", l.user)
	l.expectReset(kept)
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
	kept = l.ask("natted", "ipv4")
	stop()

	p, _ = l.start(kernel.Config{})
	p.Settle()
	l.reach("direct", "ipv4", l.user)
	l.expectReset(kept)
}

func endCutsAndLeavesNothing(t *testing.T, l *lab) {
	p, stop := l.start(kernel.Config{})
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
	conn := l.ask("natted", "ipv4")
	stop()
	l.expectReset(conn)
	l.reach("direct", "ipv4", l.user)
	if tables := l.tables(); len(tables) > 2 {
		t.Errorf("tables are left: %v, want those of the lab alone", tables)
	}
}

// A router that leads in user space cuts what an earlier one has left.
func removeCutsWhatIsLeft(t *testing.T, l *lab) {
	if found, err := kernel.Remove(fixtures.Log(t)); found || err != nil {
		t.Errorf("before: got %t and error %v, want nothing found", found, err)
	}
	p, stop := l.start(kernel.Config{LeaveRules: true})
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
	conn := l.ask("natted", "ipv4")
	if found, err := kernel.Remove(fixtures.Log(t)); found || err != nil {
		t.Errorf("while a router runs: got %t and error %v, want nothing found", found, err)
	}
	l.expectEcho(conn)
	stop()
	if found, err := kernel.Remove(fixtures.Log(t)); !found || err != nil {
		t.Errorf("after: got %t and error %v, want something found", found, err)
	}
	l.expectReset(conn)
	l.reach("direct", "ipv4", l.user)
	if tables := l.tables(); len(tables) > 2 {
		t.Errorf("tables are left: %v, want those of the lab alone", tables)
	}
}

// Somebody flushes everything, as a firewall that is reloaded may: user space
// serves until the rules are back.
func flushedRulesComeBack(t *testing.T, l *lab) {
	p, _ := l.start(kernel.Config{})
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	c.FlushRuleset()
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	l.hideContainers()
	l.reach("direct", "ipv4", l.l1["ipv4"])
	conn := l.ask("direct", "ipv4")
	p.Cut(l.portNumber())
	l.expectReset(conn)
}

// A leader that ends a connection is doubted before the next one goes there.
func serverThatEndsConnectionsIsDoubted(t *testing.T, l *lab) {
	doubts := newDoubts()
	p, _ := l.start(kernel.Config{Doubted: doubts.add})
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
	for range 5 {
		l.ask("direct", "ipv4").Close()
	}
	if n := doubts.of(l.portNumber()); n != 0 {
		t.Errorf("clients that left made %d doubts", n)
	}
	conn, err := l.dial("natted", "ipv4", leaving)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, conn)
	opened := l.user.opened.Load()
	l.ask("direct", "ipv4")
	if l.user.opened.Load() != opened+1 {
		t.Error("the connection after the server's end was led there")
	}
	eventually(t, "the doubt is told", func() bool { return doubts.of(l.portNumber()) > 0 })
	l.reach("direct", "ipv4", l.user)
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
}

// A leader that refuses connections, or whose answers do not come, costs the
// client that meets it first a moment, and nobody an error.
func unreachableLeaderFallsThrough(t *testing.T, l *lab) {
	for name, addr := range map[string]string{
		"refuses": "10.91.11.2:1", "unreachable": "10.99.1.1:5432", "silent": "10.99.1.1:5432",
	} {
		t.Run(name, func(t *testing.T) {
			l := l.in(t)
			doubts := newDoubts()
			p, _ := l.start(kernel.Config{Doubted: doubts.add})
			if name != "refuses" {
				l.hole("10.99.1.1", name == "silent")
			}
			p.Offer(l.portNumber(), mustAddrPort(addr))
			eventually(t, "the kernel leads", func() bool { return l.leads(l.portNumber()) })
			l.ask("direct", "ipv4")
			l.ask("natted", "ipv4")
			eventually(t, "the doubt is told", func() bool { return doubts.of(l.portNumber()) > 0 })
			p.Offer(l.portNumber(), mustAddrPort(addr))
			l.ask("direct", "ipv4")
		})
	}
}

func counters(t *testing.T, l *lab) {
	p, _ := l.start(kernel.Config{})
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
	before := l.counters(p)
	conns := []*net.TCPConn{l.ask("direct", "ipv4"), l.ask("natted", "ipv4"), l.ask("local", "ipv4")}
	const size = 100_000
	go conns[0].Write(make([]byte, size))
	if _, err := io.ReadFull(conns[0], make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	after := l.counters(p)
	if got := after.Opened - before.Opened; got != 3 {
		t.Errorf("%d connections were counted, want 3", got)
	}
	if after.Open != 3 {
		t.Errorf("%d connections are open, want 3", after.Open)
	}
	for name, bytes := range map[string]uint64{
		"sent": after.SentBytes - before.SentBytes, "received": after.ReceivedBytes - before.ReceivedBytes,
	} {
		if bytes < size || bytes > 2*size {
			t.Errorf("%d bytes %s were counted, want %d and their headers", bytes, name, size)
		}
	}
	if after.SentPackets == before.SentPackets || after.ReceivedPackets == before.ReceivedPackets {
		t.Errorf("no packets were counted: %+v", after)
	}
}

// Who asks for doubts before each connection does not wait for those who count, which
// is a walk through all flows.
func countingKeepsNobodyWaiting(t *testing.T, l *lab) {
	p, _ := l.start(kernel.Config{})
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
	var counting sync.WaitGroup
	defer counting.Wait()
	p.WhileCounting(func() {
		begun := make(chan struct{}, 2)
		counting.Go(func() { begun <- struct{}{}; p.Open() })
		counting.Go(func() { begun <- struct{}{}; p.Counters() })
		<-begun
		<-begun
		for range 100 { // by then both have come to the flows
			if p.Doubted(l.portNumber()) {
				t.Error("the leader is doubted")
			}
		}
	})
}

func (l *lab) counters(p *kernel.Plane) kernel.Counters {
	l.t.Helper()
	all, err := p.Counters()
	if err != nil {
		l.t.Fatal(err)
	}
	return all[l.portNumber()]
}

// Whoever else uses the marks of connections can not be beside us.
func TestOpenRefusesBesideOthersMarks(t *testing.T) {
	netlab.Here(t)
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Name: "mesh", Family: nftables.TableFamilyINet})
	chain := c.AddChain(&nftables.Chain{
		Name: "marks", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Immediate{Register: 1, Data: []byte{1, 0, 0, 0}},
		&expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: 1},
	}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.DelTable(table)
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	})
	p, err := kernel.Open(kernel.Config{Log: fixtures.Log(t)})
	want := "chain marks in table mesh uses the marks of connections (ct mark)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v and error %v, want %q", p, err, want)
	}
}

func oneRouterAtATime(t *testing.T, l *lab) {
	_, stop := l.start(kernel.Config{})
	if _, err := kernel.Open(kernel.Config{Log: fixtures.Log(t)}); err == nil {
		t.Fatal("a second router was let in")
	}
	stop()
	l.start(kernel.Config{})
}

// What a plane has made passes its own look at it; what somebody has taken from it
// does not.
func TestVerify(t *testing.T) {
	l := &lab{t: t, router: netlab.Here(t)}
	p, err := kernel.Open(kernel.Config{Log: fixtures.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(); err != nil {
		t.Error(err)
	}
	c := l.nft()
	table := &nftables.Table{Name: "pgpatron", Family: nftables.TableFamilyIPv6}
	c.DelChain(&nftables.Chain{Name: "hide", Table: table})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(); err == nil {
		t.Error("a missing chain was not noticed")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Run(over); err != nil {
		t.Error(err)
	}
}

// doubts counts what a plane doubts.
type doubts struct {
	mu sync.Mutex
	n  map[uint16]int
}

func newDoubts() *doubts { return &doubts{n: map[uint16]int{}} }

func (d *doubts) add(port uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n[port]++
}

func (d *doubts) of(port uint16) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n[port]
}
