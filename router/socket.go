package router

import (
	"context"
	"net"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sockets says how the connections on both sides of a session behave.
type sockets struct {
	keepAlive   net.KeepAliveConfig
	userTimeout time.Duration
}

func newSockets(cfg Config) sockets {
	third := cfg.KeepAlive / 3
	return sockets{
		keepAlive:   net.KeepAliveConfig{Enable: true, Idle: cfg.KeepAlive, Interval: third, Count: 3},
		userTimeout: cfg.UserTimeout,
	}
}

// control sets TCP_USER_TIMEOUT; what a listener accepts inherits it.
func (s sockets) control(_, _ string, raw syscall.RawConn) error {
	if s.userTimeout == 0 {
		return nil
	}
	var err error
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(s.userTimeout.Milliseconds()))
	})
	if failed != nil {
		return failed
	}
	return err
}

// listen opens a public port. host may be empty: every address.
func (s sockets) listen(ctx context.Context, host string, port int) (*net.TCPListener, error) {
	lc := net.ListenConfig{Control: s.control, KeepAliveConfig: s.keepAlive}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// dialer reaches leaders.
type dialer struct{ net *net.Dialer }

func (s sockets) dialer(timeout time.Duration) *dialer {
	d := &net.Dialer{Timeout: timeout, Control: s.control, KeepAliveConfig: s.keepAlive}
	d.SetMultipathTCP(false)
	return &dialer{net: d}
}

func (d *dialer) dial(ctx context.Context, addr string) (*net.TCPConn, error) {
	conn, err := d.net.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// reset ends a connection with RST: the peer learns of it at once, whatever it
// is doing, and never takes it for an orderly end.
func reset(conn *net.TCPConn) {
	// Both fail only on a connection that has ended already.
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// hasLeft reports whether the peer has ended its side of the connection. It
// reads nothing.
func hasLeft(conn *net.TCPConn) bool {
	const established = 1 // TCP_ESTABLISHED
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	left := true
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		left = err == nil && info.State != established
	})
	return err != nil || left
}
