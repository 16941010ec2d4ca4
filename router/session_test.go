package router_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/router"
)

// routed runs a router that leads to handle, and returns the public port.
func routed(t testing.TB, cfg router.Config, handle func(*net.TCPConn)) int {
	t.Helper()
	s := newSite(t)
	n := newNodeAt(t, "n", serve(t, handle))
	s.announce("a", n)
	s.lead("a", n)
	port := s.allocate("a")
	s.start(cfg)
	return port
}

func noise(size int) []byte {
	b := make([]byte, size)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(b)
	return b
}

// Each side ends its direction before the other has said anything: both get all.
func TestHalfCloseBothWays(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	up := make(chan [32]byte, 1)
	port := routed(t, router.Config{}, func(server *net.TCPConn) {
		got, err := io.ReadAll(server)
		if err != nil {
			t.Errorf("server reads: %v", err)
		}
		up <- sha256.Sum256(got)
		if _, err := server.Write(noise(size)); err != nil {
			t.Errorf("server writes: %v", err)
		}
	})
	conn := dial(t, port)
	if _, err := conn.Write(noise(size)); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if want := noise(size); <-up != sha256.Sum256(want) || !bytes.Equal(got, want) {
		t.Error("bytes differ from what was sent")
	}
}

func TestServerMayEndFirst(t *testing.T) {
	t.Parallel()
	up := make(chan string, 1)
	port := routed(t, router.Config{}, func(server *net.TCPConn) {
		server.Write([]byte("bye"))
		server.CloseWrite()
		got, _ := io.ReadAll(server)
		up <- string(got)
	})
	conn := dial(t, port)
	if got, err := io.ReadAll(conn); err != nil || string(got) != "bye" {
		t.Fatalf("client reads %q, %v, want bye", got, err)
	}
	conn.Write([]byte("one more word"))
	conn.CloseWrite()
	if got := <-up; got != "one more word" {
		t.Errorf("server reads %q after its own end, want one more word", got)
	}
}

// A reader that stops holds up the writer, and loses nothing when it goes on.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	sent := make(chan struct{})
	port := routed(t, router.Config{}, func(server *net.TCPConn) {
		for range size / (1 << 20) {
			server.Write(make([]byte, 1<<20))
		}
		close(sent)
	})
	conn := dial(t, port)
	select {
	case <-sent:
		t.Fatal("64 MiB were taken in while nobody reads")
	case <-time.After(300 * time.Millisecond):
	}
	if n, err := io.Copy(io.Discard, conn); n != size || err != nil {
		t.Errorf("client reads %d bytes, %v, want %d", n, err, size)
	}
}

func TestResetPropagates(t *testing.T) {
	t.Parallel()
	started, over := make(chan struct{}, 1), make(chan error, 1)
	t.Run("from the client", func(t *testing.T) {
		port := routed(t, router.Config{}, func(server *net.TCPConn) {
			started <- struct{}{}
			_, err := io.Copy(io.Discard, server)
			over <- err
		})
		conn := dial(t, port)
		<-started
		conn.SetLinger(0)
		conn.Close()
		if err := <-over; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("server's side ended with %v, want a reset", err)
		}
	})
	t.Run("from the server", func(t *testing.T) {
		port := routed(t, router.Config{}, func(server *net.TCPConn) {
			io.ReadFull(server, make([]byte, 1))
			server.SetLinger(0)
		})
		conn := dial(t, port)
		conn.Write([]byte("x"))
		if err := ended(t, conn); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("client's side ended with %v, want a reset", err)
		}
	})
}

func TestManySessionsEcho(t *testing.T) {
	t.Parallel()
	port := routed(t, router.Config{}, echo)
	done := make(chan error)
	const clients = 50
	for i := range clients {
		conn := dial(t, port)
		go func() {
			sent := bytes.Repeat([]byte{byte(i)}, 100_000+i)
			go func() {
				conn.Write(sent)
				conn.CloseWrite()
			}()
			got, err := io.ReadAll(conn)
			if err == nil && !bytes.Equal(got, sent) {
				err = errors.New("echo differs")
			}
			done <- err
		}()
	}
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func echo(server *net.TCPConn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
	}
}
