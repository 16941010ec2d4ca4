package router_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// From the moment at which somebody begins to write a switch: when the last new
// session went through that router or to that replica, and, switched on again, when
// the first did. Among 1 000 clusters whose members write as they usually do, while
// three clients connect, again a millisecond after each answer. For the figures of docs/performance.md:
// go test ./router -run '^$' -bench Switch -benchtime 100x
func BenchmarkSwitch(b *testing.B) {
	for name, key := range map[string]string{
		"router":  state.RouterKey("127.0.0.1", 1),
		"replica": state.DatasourceKey("measured", "n1"),
	} {
		b.Run(name, func(b *testing.B) {
			s := newSite(b)
			reads := s.measured()
			defer s.crowd(1000)()
			s.start(router.Config{PID: 1, BreakGrace: time.Hour, Log: slog.New(slog.DiscardHandler)})
			toggled := fixtures.Hammer(b, 3, func() (bool, error) {
				who, err := connect(reads)
				return who == 1 || name == "router" && who != 'E', err
			})
			var off, on []time.Duration
			for b.Loop() {
				began := time.Now()
				s.put(key, "DISABLED")
				off = append(off, toggled.Quiet(began))
				began = time.Now()
				s.put(key, "")
				on = append(on, toggled.Next(began))
			}
			fixtures.ReportTimes(b, "off", off)
			fixtures.ReportTimes(b, "on", on)
		})
	}
}

// measured makes the instance that is measured, and returns its port for readers.
// Each of its servers says its number to whoever connects.
func (s *site) measured() (reads int) {
	for i := range 3 {
		n := newNodeAt(s.t, "n"+strconv.Itoa(i), serve(s.t, func(conn *net.TCPConn) {
			conn.Write([]byte{byte(i)})
			io.Copy(io.Discard, conn)
		}))
		if i > 0 {
			n.mode.Store(replica)
		} else {
			s.lead("measured", n)
		}
		s.announce("measured", n)
	}
	s.allocate("measured")
	reads = freePort(s.t)
	s.put(state.ReadOnlyKey("measured"), strconv.Itoa(reads))
	return reads
}

// crowd makes other instances, with ports of both kinds and members that tell of
// themselves once in ten seconds each, until stop is called.
func (s *site) crowd(instances int) (stop func()) {
	nodes := [3]*node{newNode(s.t, "n0"), newNode(s.t, "n1"), newNode(s.t, "n2")}
	announce := func(i int, wal int) {
		s.announceAs("crowd-"+strconv.Itoa(i/3), nodes[i%3], map[string]any{"xlog_location": wal})
	}
	for i := range 3 * instances {
		announce(i, 0)
		if id := "crowd-" + strconv.Itoa(i/3); i%3 == 0 {
			s.lead(id, nodes[0])
			s.allocate(id)
			s.put(state.ReadOnlyKey(id), strconv.Itoa(freePort(s.t)))
		}
	}
	stopped := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		pace := time.NewTicker(10 * time.Second / time.Duration(3*instances))
		defer pace.Stop()
		for i := 1; ; i++ {
			select {
			case <-stopped:
				return
			case <-pace.C:
				announce(i%(3*instances), i)
			}
		}
	})
	return func() { close(stopped); writing.Wait() }
}

// connect returns the first byte that a server, or the router, says to a client.
func connect(port int) (byte, error) {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := conn.Write(packet(v3, "user\x00alice\x00\x00")); err != nil {
		return 0, err
	}
	answer := make([]byte, 1)
	_, err = io.ReadFull(conn, answer)
	return answer[0], err
}
