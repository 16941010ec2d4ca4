package router_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/pgpatron/pgpatron/router"
)

// benchPorts returns the port of a server and the public port that leads to it.
func benchPorts(b *testing.B, handle func(*net.TCPConn)) map[string]int {
	s := newSite(b)
	addr := serve(b, handle)
	n := newNodeAt(b, "n", addr)
	s.announce("a", n)
	s.lead("a", n)
	routed := s.allocate("a")
	s.start(router.Config{Log: slog.New(slog.DiscardHandler)})
	var direct int
	if _, err := fmt.Sscanf(addr, "127.0.0.1:%d", &direct); err != nil {
		b.Fatal(err)
	}
	return map[string]int{"direct": direct, "routed": routed}
}

// Small messages to and fro, as short statements are.
func BenchmarkRoundTrip(b *testing.B) {
	for name, port := range benchPorts(b, echo) {
		b.Run(name, func(b *testing.B) {
			conn := benchDial(b, port)
			buffer := make([]byte, 100)
			for b.Loop() {
				conn.Write(buffer)
				if _, err := io.ReadFull(conn, buffer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// One way without an end, as COPY is.
func BenchmarkStream(b *testing.B) {
	const chunk = 1 << 20
	for name, port := range benchPorts(b, func(server *net.TCPConn) {
		buffer := make([]byte, 64<<10)
		for {
			if _, err := server.Write(buffer); err != nil {
				return
			}
		}
	}) {
		b.Run(name, func(b *testing.B) {
			conn := benchDial(b, port)
			buffer := make([]byte, 256<<10)
			b.SetBytes(chunk)
			for b.Loop() {
				for n := 0; n < chunk; n += len(buffer) {
					if _, err := io.ReadFull(conn, buffer); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// A connection for every statement.
func BenchmarkConnect(b *testing.B) {
	for name, port := range benchPorts(b, echo) {
		b.Run(name, func(b *testing.B) {
			buffer := make([]byte, 100)
			for b.Loop() {
				conn := benchDial(b, port)
				conn.Write(buffer)
				if _, err := io.ReadFull(conn, buffer); err != nil {
					b.Fatal(err)
				}
				conn.Close()
			}
		})
	}
}

func benchDial(b *testing.B, port int) net.Conn {
	b.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}
