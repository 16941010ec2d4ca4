package kernel_test

import (
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/router/kernel"
)

// 10 000 instances get their leaders at once, as when a router starts.
func BenchmarkLoad10000Ports(b *testing.B) {
	l := newLab(b)
	for b.Loop() {
		b.StopTimer()
		p, stop := l.start(kernel.Config{Log: slog.New(slog.DiscardHandler)})
		before := resident(b)
		b.StartTimer()
		const first, last = 20000, 29999
		for port := uint16(first); port <= last; port++ {
			p.Offer(port, l.l1["ipv4"].addr)
		}
		for !l.leads(last) {
			time.Sleep(time.Millisecond)
		}
		b.StopTimer()
		b.ReportMetric(float64(resident(b)-before)/(1<<20), "MiB")
		stop()
		b.StartTimer()
	}
}

// What a census costs: reading how many connections each of 10 000 ports has had,
// and counting those of one that are open.
func BenchmarkCount(b *testing.B) {
	l := newLab(b)
	p, _ := l.start(kernel.Config{Log: slog.New(slog.DiscardHandler)})
	const first, last = 20000, 29999
	for port := uint16(first); port <= last; port++ {
		p.Offer(port, l.l1["ipv4"].addr)
	}
	p.Offer(l.portNumber(), l.l1["ipv4"].addr)
	l.reach("direct", "ipv4", l.l1["ipv4"])
	l.crowd(1000)
	b.Run("opened", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.Opened(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.Open(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// resident returns this process's memory in bytes.
func resident(b *testing.B) int {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	return kib << 10
}

// Sessions of many clients are cut at once; the time ends when the last client
// knows.
func BenchmarkCut(b *testing.B) {
	for _, sessions := range []int{1, 500, 3000} {
		b.Run(strconv.Itoa(sessions), func(b *testing.B) {
			l := newLab(b)
			p, _ := l.start(kernel.Config{Log: slog.New(slog.DiscardHandler)})
			for b.Loop() {
				b.StopTimer()
				p.Offer(l.portNumber(), l.l1["ipv4"].addr)
				l.reach("direct", "ipv4", l.l1["ipv4"])
				clients := l.crowd(sessions)
				b.StartTimer()
				p.Cut(l.portNumber())
				clients.Wait()
			}
		})
	}
}

// crowd opens idle sessions, and waits for their end.
func (l *lab) crowd(n int) *sync.WaitGroup {
	l.t.Helper()
	var all sync.WaitGroup
	kinds := []string{"direct", "natted"}
	for i := range n {
		conn, err := l.dial(kinds[i%len(kinds)], "ipv4", idle)
		if err != nil {
			l.t.Fatal(err)
		}
		all.Go(func() { live(conn, idle) })
	}
	return &all
}
