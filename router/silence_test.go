package router_test

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgpatron/pgpatron/router"
)

func TestIsSilent(t *testing.T) {
	const limit = 30 * time.Second
	for name, test := range map[string]struct {
		info unix.TCPInfo
		want bool
	}{
		"acknowledges":                     {unix.TCPInfo{Unacked: 1, Last_ack_recv: 5}, false},
		"is gone, sent to again and again": {unix.TCPInfo{Unacked: 9, Retransmits: 7, Last_ack_recv: 31000}, true},
		"is gone since a moment":           {unix.TCPInfo{Unacked: 9, Retransmits: 7, Last_ack_recv: 29000}, false},
		"does not read, and says so":       {unix.TCPInfo{Notsent_bytes: 1 << 20, Probes: 0, Last_ack_recv: 110000}, false},
		"does not read, being asked":       {unix.TCPInfo{Notsent_bytes: 1 << 20, Probes: 1, Last_ack_recv: 120000}, false},
		"did not read and is gone":         {unix.TCPInfo{Notsent_bytes: 1 << 20, Probes: 4, Last_ack_recv: 120000}, true},
	} {
		if got := router.IsSilent(&test.info, limit); got != test.want {
			t.Errorf("a peer that %s: silent is %v, want %v", name, got, test.want)
		}
	}
}

// A client that does not read for longer than a silent one would be kept is none.
func TestStalledReaderStays(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	port := routed(t, router.Config{KeepAlive: 3 * time.Second}, func(server *net.TCPConn) {
		server.Write(make([]byte, size))
	})
	conn := dial(t, port)
	time.Sleep(7 * time.Second)
	if n, err := io.Copy(io.Discard, conn); n != size || err != nil {
		t.Errorf("client reads %d bytes, %v, want %d", n, err, size)
	}
}
