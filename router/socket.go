package router

import (
	"context"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sockets makes the sockets on both sides of sessions.
type sockets struct {
	keepAlive   time.Duration
	userTimeout time.Duration
	// receiveBuffer bounds what the kernel keeps for us of what a peer has sent;
	// 0 leaves that to it.
	receiveBuffer int
}

func newSockets(cfg Config) sockets {
	return sockets{keepAlive: cfg.KeepAlive, userTimeout: cfg.UserTimeout, receiveBuffer: receiveBuffer()}
}

// backlog is how many clients may wait to be accepted; the kernel's somaxconn
// bounds it.
const backlog = 65535

// listen opens a public port on an address, or, if that is not valid or is ::,
// on every address of this host, IPv6 and IPv4.
//
// Another process of the same user may listen on the same port: the next router
// does before this one stops. The newest of them gets every new connection, so
// that the older can take those in that have come to it, and close. See
// docs/decisions/0023.
func (s sockets) listen(addr netip.Addr, port int) (fd int, err error) {
	everywhere := !addr.IsValid() || addr == netip.IPv6Unspecified()
	if everywhere {
		addr = netip.IPv6Unspecified()
	}
	at := netip.AddrPortFrom(addr, uint16(port))
	fd, err = stream(at)
	if err == unix.EAFNOSUPPORT && everywhere {
		at = netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port))
		fd, err = stream(at)
	}
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := s.open(fd, at, everywhere); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// open has fd listen. What it accepts inherits its options.
func (s sockets) open(fd int, at netip.AddrPort, everywhere bool) error {
	if err := s.configure(fd); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := share(fd); err != nil {
		return err
	}
	if at.Addr().Is6() {
		only := 1
		if everywhere {
			only = 0
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, sockaddr(at)); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return os.NewSyscallError("listen", err)
	}
	return succeed(fd)
}

// share allows another process of the same user to listen on a socket's port,
// too. It is called before bind.
func share(fd int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

// succeed gives every new connection to the second of those that share a port.
// It is called after listen: before bind the socket would share with nobody.
func succeed(fd int) error {
	// A program that returns the index of a socket among those that share a port.
	// If there is no second one, the kernel goes by its own choice.
	second := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 1}}
	program := unix.SockFprog{Len: uint16(len(second)), Filter: &second[0]}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &program)
	return os.NewSyscallError("setsockopt", err)
}

// call begins to connect to a server and does not wait for its answer.
func (s sockets) call(to netip.AddrPort) (fd int, err error) {
	if fd, err = stream(to); err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err = s.configure(fd); err == nil {
		if err = unix.Connect(fd, sockaddr(to)); err == unix.EINPROGRESS {
			err = nil
		}
		err = os.NewSyscallError("connect", err)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// configure sets what holds for both sides of a session.
func (s sockets) configure(fd int) error {
	third := max(1, int(s.keepAlive.Seconds())/3)
	options := []struct{ level, name, value int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(s.keepAlive.Seconds())},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, third},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(s.userTimeout.Milliseconds())},
		{unix.SOL_SOCKET, unix.SO_RCVBUF, s.receiveBuffer},
	}
	for _, o := range options {
		if o.value == 0 {
			continue
		}
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// stream makes a TCP socket of the family of an address.
func stream(at netip.AddrPort) (int, error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
}

func sockaddr(at netip.AddrPort) unix.Sockaddr {
	if at.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	if zone := at.Addr().Zone(); zone != "" {
		if i, err := net.InterfaceByName(zone); err == nil {
			sa.ZoneId = uint32(i.Index)
		}
	}
	return sa
}

// resolve returns the addresses behind host:port, at least one.
func resolve(ctx context.Context, hostPort string) ([]netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(hostPort); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(at.Addr().Unmap(), at.Port())}, nil
	}
	host, service, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	all := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		all[i] = netip.AddrPortFrom(a.Unmap(), uint16(port))
	}
	return all, nil
}

// resetFD ends a connection with RST: the peer learns of it at once, whatever it
// is doing, and never takes it for an orderly end.
func resetFD(fd int) {
	// Both fail only on a connection that has ended already.
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(fd)
}

// tcpConn makes a connection of package net out of fd, which is closed.
func tcpConn(fd int) (*net.TCPConn, error) {
	file := os.NewFile(uintptr(fd), "client")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// hasLeft reports whether the peer has ended its side of the connection. It
// reads nothing.
func hasLeft(fd int) bool {
	const established = 1 // TCP_ESTABLISHED
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err != nil || info.State != established
}
