package router_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/router"
)

// Clients and leaders are reached by IPv6 as by IPv4, and by each from the other.
func TestIPv6(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this host has no IPv6: %v", err)
	}
	serveAt(t, l, echo)
	for name, test := range map[string]struct {
		listen, leader string
		clients        []string
	}{
		"everywhere":          {"::", l.Addr().String(), []string{"::1", "127.0.0.1"}},
		"every IPv4 address":  {"0.0.0.0", l.Addr().String(), []string{"127.0.0.1"}},
		"one address":         {"::1", l.Addr().String(), []string{"::1"}},
		"to a leader of IPv4": {"::1", serve(t, echo), []string{"::1"}},
		"mapped into IPv6":    {"::", l.Addr().String(), []string{"::ffff:127.0.0.1"}},
		"to a leader's name":  {"::1", strings.Replace(serve(t, echo), "127.0.0.1", "localhost", 1), []string{"::1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			n := newNodeAt(t, "n", test.leader)
			s.announce("a", n)
			s.lead("a", n)
			port := s.allocate("a")
			s.start(router.Config{Listen: netip.MustParseAddr(test.listen), IP: netip.MustParseAddr("::1")})
			for _, client := range test.clients {
				conn, err := net.Dial("tcp", net.JoinHostPort(client, fmt.Sprint(port)))
				if err != nil {
					t.Fatalf("from %s: %v", client, err)
				}
				exchange(t, conn)
				conn.Close()
			}
		})
	}
}
