package kernel_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pgpatron/pgpatron/fixtures/netlab"
	"github.com/pgpatron/pgpatron/router/kernel"
)

// A packet that conntrack holds for no part of its connection, from either side,
// resets nobody.
func strayPacketsHarmNobody(t *testing.T, l *lab) {
	p, _ := l.start(kernel.Config{})
	for _, family := range families {
		leader := l.l1[family]
		p.Offer(l.portNumber(), leader.addr)
		l.reach("direct", family, leader)
		conn := l.ask("direct", family)
		if err := l.stray(l.clients["direct"].host, conn); err != nil {
			t.Fatal(err)
		}
		sent := 0
		leader.conns.Range(func(server, _ any) bool {
			err := l.stray(l.hosts[0], server.(*net.TCPConn))
			switch {
			case err == nil:
				sent++
			case !errors.Is(err, net.ErrClosed): // one that has only tried the way
				t.Error(err)
			}
			return true
		})
		if sent == 0 {
			t.Error("the leader has no connection to send on")
		}
		l.expectEcho(conn)
	}
}

// stray sends what the connection can not have sent yet. (Newer kernels know late
// duplicates, which older ones hold for the same.)
func (l *lab) stray(host *netlab.Host, conn *net.TCPConn) error {
	sent, received, err := numbers(conn)
	if err != nil {
		return err
	}
	local, remote := conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	local, remote = netip.AddrPortFrom(local.Addr().Unmap(), local.Port()), netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	const ahead = 1 << 28
	return host.Do(func() error { return kernel.SendAcknowledgement(local, remote, sent+ahead, received) })
}

// numbers returns what a connection sends and receives next.
func numbers(conn *net.TCPConn) (sent, received uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	const repair, queue, sequence, offWithoutProbe = 19, 20, 21, -1
	number := func(fd, of int) (uint32, error) {
		err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, queue, of)
		n, err2 := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, sequence)
		return uint32(n), errors.Join(err, err2)
	}
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, repair, 1)
		var err1, err2 error
		received, err1 = number(int(fd), 1)
		sent, err2 = number(int(fd), 2)
		err = errors.Join(err, err1, err2, unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, repair, offWithoutProbe))
	})
	return sent, received, errors.Join(failed, err)
}
