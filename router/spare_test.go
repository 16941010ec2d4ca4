package router

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// Who comes when no more files may be open is turned away at once, and who comes later is
// taken in as ever.
func TestTurnedAwayForWantOfFiles(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	p := &plane{metrics: newMetrics(registry), spare: newSpare()}
	fd, dial := listening(t)
	l := &listener{plane: p, fd: fd}
	waiting := []net.Conn{dial(), dial(), dial()}
	l.turnAway(unix.ECONNABORTED)
	if got := refusedForFiles(t, registry); got != 0 {
		t.Fatalf("%v are turned away though files are not what is wanting", got)
	}
	l.turnAway(unix.EMFILE)
	for _, conn := range waiting {
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("who is turned away reads %v, want a reset", err)
		}
	}
	if got := refusedForFiles(t, registry); got != 3 {
		t.Errorf("%v are counted as turned away, want 3", got)
	}
	if _, err := dial().Write(bytes.Repeat([]byte("x"), 8)); err != nil {
		t.Error(err)
	}
	taken, err := acceptNow(fd)
	if err != nil {
		t.Fatalf("who comes later: %v", err)
	}
	unix.Close(taken)
}

// The next file that comes free after somebody has taken the spare one's room is the spare.
func TestSpareFileComesBeforeConnections(t *testing.T) {
	t.Parallel()
	p := &plane{metrics: newMetrics(prometheus.NewRegistry()), spare: &spare{path: "/nothing/is/free", fd: -1}}
	fd, dial := listening(t)
	l := &listener{plane: p, fd: fd}
	dial()
	if err := l.accept(1); !isWantOfFiles(err) {
		t.Fatalf("without the spare file: accepting returns %v, want %v", err, unix.EMFILE)
	}
	p.spare.path = os.DevNull
	taken, err := acceptNow(fd)
	if err != nil {
		t.Fatalf("the connection that waited was taken: %v", err)
	}
	unix.Close(taken)
	if err := l.accept(1); err != nil {
		t.Fatalf("with room for the spare file: %v", err)
	}
	if p.spare.fd < 0 {
		t.Error("connections are taken without the spare file")
	}
}

// A leader that can not be called for want of a file is not doubted.
func TestNoLeaderIsDoubtedForWantOfFiles(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	p := newPlane(Config{Registry: registry}, m, slog.Default())
	r := newRoute(t.Context(), "a", m, slog.Default())
	g := newReign(t.Context(), leader{member: "n1"})
	r.reign = g
	fd, dial := listening(t)
	conn := dial()
	client, err := acceptNow(fd)
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(p, r, &loop{}, client)
	s.reign = g
	p.missed(s, os.NewSyscallError("socket", unix.EMFILE))
	if r.current() != g {
		t.Error("the leader is doubted")
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client reads %v, want a reset", err)
	}
	if got := refusedForFiles(t, registry); got != 1 {
		t.Errorf("%v are counted as turned away, want 1", got)
	}
}

// listening returns a socket that listens, and what connects to it.
func listening(t *testing.T) (fd int, dial func() net.Conn) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 16)); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, func() net.Conn {
		conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(bound.(*unix.SockaddrInet4).Port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
}

// refusedForFiles reads the metric.
func refusedForFiles(t *testing.T, registry *prometheus.Registry) (n float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if labels := m.GetLabel(); f.GetName() == "pgpatron_router_refusals_total" && labels[0].GetValue() == "no_files" {
				n = m.GetCounter().GetValue()
			}
		}
	}
	return n
}
