package router_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
			toggled := s.hammer(reads, map[string]byte{"replica": 1}[name])
			var off, on []time.Duration
			for b.Loop() {
				began := time.Now()
				s.put(key, "DISABLED")
				off = append(off, toggled.quiet(began))
				began = time.Now()
				s.put(key, "")
				on = append(on, toggled.next(began))
			}
			report(b, "off", off)
			report(b, "on", on)
		})
	}
}

func report(b *testing.B, name string, took []time.Duration) {
	slices.Sort(took)
	for _, p := range []struct {
		unit string
		at   int
	}{{"-p50-ms", len(took) / 2}, {"-p99-ms", (99*len(took)+99)/100 - 1}, {"-max-ms", len(took) - 1}} {
		b.ReportMetric(float64(took[p.at].Microseconds())/1000, name+p.unit)
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

// sightings are when clients last got through to a server.
type sightings struct {
	t testing.TB
	// last and first are in nanoseconds since the epoch; first is that of the first
	// time since it was set to 0.
	last, first atomic.Int64
	// others counts connections that did not.
	others atomic.Int64
}

// hammer has clients connect until the test ends, and tells of those who reach one
// server.
func (s *site) hammer(port int, server byte) *sightings {
	seen := &sightings{t: s.t}
	startup := packet(v3, "user\x00alice\x00\x00")
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for ; !isClosed(stop); time.Sleep(time.Millisecond) {
				if who, ok := connect(port, startup); ok {
					seen.note(who == server || server == 0 && who != 'E')
				}
			}
		})
	}
	s.t.Cleanup(func() { close(stop); clients.Wait() })
	seen.next(time.Now())
	return seen
}

// connect returns the first byte that a server, or the router, says to a client.
func connect(port int, startup []byte) (byte, bool) {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return 0, false
	}
	defer conn.Close()
	answer := make([]byte, 1)
	if _, err := conn.Write(startup); err != nil {
		return 0, false
	}
	_, err = io.ReadFull(conn, answer)
	return answer[0], err == nil
}

func (s *sightings) note(through bool) {
	if !through {
		s.others.Add(1)
		return
	}
	now := time.Now().UnixNano()
	s.last.Store(now)
	s.first.CompareAndSwap(0, now)
}

// quiet waits until nobody has got through for a while, though many have tried,
// and returns the time from began to the last who did.
func (s *sightings) quiet(began time.Time) time.Duration {
	tried := s.others.Load()
	eventually(s.t, "nobody gets through", func() bool {
		return s.others.Load() > tried+50 && time.Since(time.Unix(0, s.last.Load())) > 100*time.Millisecond
	})
	return max(0, time.Unix(0, s.last.Load()).Sub(began))
}

// next returns the time from began to the next client who gets through.
func (s *sightings) next(began time.Time) time.Duration {
	s.first.Store(0)
	eventually(s.t, "somebody gets through", func() bool { return s.first.Load() != 0 })
	return max(0, time.Unix(0, s.first.Load()).Sub(began))
}
