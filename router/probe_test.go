package router_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
)

// One leader is not asked without a pause, whatever begins a new reign of it; the
// next one does not have to wait because the one before was asked.
func TestQuestionsKeepTheirDistanceOnlyToTheSameLeader(t *testing.T) {
	if pause := router.PauseBetween("n1", "n1"); pause <= 0 {
		t.Errorf("the same leader is asked again after %v, want a pause", pause)
	}
	if pause := router.PauseBetween("n1", "n2"); pause > 0 {
		t.Errorf("another leader is asked only after %v, want at once", pause)
	}
}

// Whoever is waited for longer is asked more seldom.
func TestQuestionsBecomeRarer(t *testing.T) {
	for waited, want := range map[time.Duration]time.Duration{
		0: 20 * time.Millisecond, 160 * time.Millisecond: 20 * time.Millisecond, 400 * time.Millisecond: 50 * time.Millisecond,
		800 * time.Millisecond: 100 * time.Millisecond, time.Minute: 100 * time.Millisecond,
	} {
		if got := router.Distance(waited); got != want {
			t.Errorf("after %v: a question every %v, want every %v", waited, got, want)
		}
	}
}

// Of the addresses of a name one is taken where somebody listens.
func TestChoosesAnAddressThatAnswers(t *testing.T) {
	nobody := netip.MustParseAddrPort("127.0.0.1:1")
	somebody := netip.MustParseAddrPort(serve(t, echo))
	if got := router.Choose(t.Context(), nobody, somebody); got != somebody {
		t.Errorf("got %v, want %v, which answers", got, somebody)
	}
	if got := router.Choose(t.Context(), nobody, nobody); got != nobody {
		t.Errorf("got %v, want %v, as there is no other", got, nobody)
	}
}

// An address that does not answer at all does not use up the time of the others.
func TestSilentAddressHidesNoOther(t *testing.T) {
	silent, somebody := listenInSilence(t), netip.MustParseAddrPort(serve(t, echo))
	ctx, cancel := context.WithTimeout(t.Context(), fixtures.Patience)
	defer cancel()
	for _, all := range [][]netip.AddrPort{{silent, somebody}, {somebody, silent}} {
		if got := router.Choose(ctx, all...); got != somebody {
			t.Errorf("got %v of %v, want %v, which answers", got, all, somebody)
		}
	}
	if got := router.Choose(ctx, silent, silent); got != silent {
		t.Errorf("got %v, want %v, as there is no other", got, silent)
	}
}

// listenInSilence listens without taking a connection: with one in its queue, which
// has no room for a second, the kernel answers no other.
func listenInSilence(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*unix.SockaddrInet4).Port))
	waiting, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { waiting.Close() })
	return at
}
