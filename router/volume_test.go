package router_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// long makes the tests of this file move as much as a router has to be trusted
// with: go test ./router -args -long
var long = flag.Bool("long", false, "move large volumes")

// scaled returns how much is moved.
func scaled(usually, withLong int) int {
	if *long {
		return withLong
	}
	return usually
}

// Many sessions at once, each way something else, each side ending its own early.
func TestManyBothWaysWithEarlyEnd(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	down, up := sha256.Sum256(noise(size)), sha256.Sum256(append(noise(size), 1))
	var whole atomic.Int64
	port := routed(t, router.Config{}, func(server *net.TCPConn) {
		var ways sync.WaitGroup
		ways.Go(func() {
			server.Write(noise(size))
			server.CloseWrite()
		})
		sum := sha256.New()
		// Some have no client: a session that this server ends first has it looked
		// at again before the next one.
		if n, _ := io.Copy(sum, server); n == size+1 && bytes.Equal(sum.Sum(nil), up[:]) {
			whole.Add(1)
		}
		ways.Wait()
	})
	var clients sync.WaitGroup
	for range scaled(4, 50) {
		conn := dial(t, port)
		clients.Go(func() {
			var ways sync.WaitGroup
			ways.Go(func() {
				conn.Write(append(noise(size), 1))
				conn.CloseWrite()
			})
			sum := sha256.New()
			if n, err := io.Copy(sum, conn); err != nil || !bytes.Equal(sum.Sum(nil), down[:]) {
				t.Errorf("client reads %d bytes, %v, and they differ or are too few", n, err)
			}
			ways.Wait()
		})
	}
	clients.Wait()
	eventually(t, "the server has everything", func() bool { return whole.Load() == int64(scaled(4, 50)) })
}

// One long stream, and every byte of it.
func TestLongStream(t *testing.T) {
	t.Parallel()
	block := noise(1 << 20)
	blocks := scaled(64, 1024)
	port := routed(t, router.Config{}, func(server *net.TCPConn) {
		for i := range blocks {
			block := append([]byte{byte(i)}, block...)
			if _, err := server.Write(block); err != nil {
				t.Errorf("server writes: %v", err)
				return
			}
		}
	})
	conn := dial(t, port)
	conn.SetDeadline(time.Now().Add(2 * fixtures.Patience))
	got := make([]byte, len(block)+1)
	for i := range blocks {
		if _, err := io.ReadFull(conn, got); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if got[0] != byte(i) || !bytes.Equal(got[1:], block) {
			t.Fatalf("block %d differs", i)
		}
	}
	if err := ended(t, conn); err != io.EOF {
		t.Errorf("the stream ended with %v, want in order", err)
	}
}

// Who does not read makes the router, with its kernel, keep a few MiB and no more.
func TestStalledReaderIsNotBufferedFor(t *testing.T) {
	t.Parallel()
	const most = 20 << 20
	var taken atomic.Int64
	port := routed(t, router.Config{}, func(server *net.TCPConn) {
		block := make([]byte, 64<<10)
		for {
			n, err := server.Write(block)
			taken.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	conn := dial(t, port)
	conn.SetReadBuffer(64 << 10) // what the client's kernel keeps is not ours
	// It reads a lot first, so that every buffer on the way has grown.
	if _, err := io.CopyN(io.Discard, conn, int64(scaled(64, 1024))<<20); err != nil {
		t.Fatal(err)
	}
	read := int64(scaled(64, 1024)) << 20
	for before := int64(-1); before != taken.Load(); {
		before = taken.Load()
		time.Sleep(200 * time.Millisecond)
	}
	if kept := taken.Load() - read; kept > most {
		t.Errorf("%d MiB are kept for a reader that has stopped, want at most %d", kept>>20, most>>20)
	}
}

// Short sessions, one after the other and side by side, none lost.
func TestShortSessions(t *testing.T) {
	t.Parallel()
	port := routed(t, router.Config{}, echo)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range scaled(100, 1250) {
				conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
				if err != nil {
					t.Errorf("connecting: %v", err)
					return
				}
				exchange(t, conn)
				conn.Close()
			}
		})
	}
	clients.Wait()
}

// All sessions of a leader that loses its key are reset, whatever they do.
func TestCutsManySessions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := newNodeAt(t, "n", serve(t, echo))
	s.announce("a", n)
	s.lead("a", n)
	port := s.allocate("a")
	r := s.start(router.Config{MaxInstanceSessions: 5000})
	conns := make([]*net.TCPConn, scaled(400, 3000))
	for i := range conns {
		conns[i] = dial(t, port)
		exchange(t, conns[i])
	}
	var clients sync.WaitGroup
	var busy atomic.Int64
	for i, conn := range conns {
		clients.Go(func() {
			var err error
			for buffer := make([]byte, 5); err == nil && i%2 == 0; busy.Add(1) {
				if _, err = conn.Write([]byte("hello")); err == nil {
					_, err = io.ReadFull(conn, buffer)
				}
			}
			if err == nil {
				err = ended(t, conn)
			}
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("session %d ended with %v, want a reset", i, err)
			}
		})
	}
	eventually(t, "half of them talk", func() bool { return busy.Load() > int64(len(conns)) })
	s.remove(state.LeaderKey("a"))
	clients.Wait()
	// Clients are told first.
	eventually(t, "every session cut is told", func() bool {
		return r.metric(t, `pgpatron_router_sessions_cut_total{instance="a"}`) == float64(len(conns)) &&
			r.metric(t, `pgpatron_router_sessions{instance="a"}`) == 0
	})
}
