package router_test

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/router"
)

// The next router listens before the first one ends: nobody who connects in
// between is refused, and sessions may end by themselves.
func TestRestartRefusesNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := newNodeAt(t, "n", serve(t, echo))
	s.announce("a", n)
	s.lead("a", n)
	port := s.allocate("a")
	before := s.start(router.Config{PID: 1, Drain: 10 * time.Second})
	old := dial(t, port)
	exchange(t, old)
	var connected atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for connected.Load() < 3000 || !isClosed(stop) {
				conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
				if err != nil {
					t.Errorf("after %d connections: %v", connected.Load(), err)
					return
				}
				exchange(t, conn)
				conn.Close()
				connected.Add(1)
			}
		})
	}
	after := s.start(router.Config{PID: 2, Drain: 10 * time.Second})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		before.stop()
	}()
	for after.metric(t, `pgpatron_router_sessions_total{instance="a"}`) < 500 {
		time.Sleep(10 * time.Millisecond)
	}
	exchange(t, old)
	old.Close()
	<-ended
	close(stop)
	clients.Wait()
	if n := before.metric(t, `pgpatron_router_sessions_total{instance="a"}`); n == 0 {
		t.Error("the first router had no sessions")
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// exchange says something to an echo and hears it.
func exchange(t *testing.T, conn net.Conn) {
	buffer := []byte("hello")
	if _, err := conn.Write(buffer); err != nil {
		t.Errorf("writing: %v", err)
		return
	}
	if n, err := conn.Read(buffer); err != nil || string(buffer[:n]) != "hello" {
		t.Errorf("the echo is %q, %v", buffer[:n], err)
	}
}

// Sessions that do not end are cut when the time is over, and until then they
// follow their leader.
func TestDrainHasAnEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, _, n2 := s.cluster("a")
	b, _, _ := s.cluster("b")
	r := s.start(router.Config{Drain: 2 * time.Second})
	moved, stays := open(t, a), open(t, b)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.stop()
	}()
	eventually(t, "the ports are closed", func() bool { return !isOpen(a) && !isOpen(b) })
	ask(t, stays, "who")
	s.lead("a", n2)
	moved.Conn().Read(make([]byte, 1))
	ask(t, stays, "who")
	<-ended
	if _, err := stays.Conn().Read(make([]byte, 1)); err == nil {
		t.Error("the session goes on after the end of the router")
	}
}
