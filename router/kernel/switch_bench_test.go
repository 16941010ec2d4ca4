package kernel_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// The kernel leads to 1 000 leaders. From the moment at which somebody begins to
// write the router's switch: when the last session was led, and, switched on again,
// when the first was: go test ./router/kernel -run '^$' -bench Switch -benchtime 100x
func BenchmarkSwitch(b *testing.B) {
	l := newLab(b)
	l.user.end() // the router listens itself
	etcd := fixtures.Etcd(b)
	l.crowd1000(etcd)
	cfg := router.Config{
		IP: netip.MustParseAddr("10.91.1.1"), PID: 1, Metrics: "127.0.0.1:0", BreakGrace: time.Hour,
		DataPlane: router.KernelPlane, Log: slog.New(slog.DiscardHandler),
	}
	stop := l.route(cfg, etcd)
	defer stop()
	eventually(b, "the kernel leads", func() bool { return len(l.ledPorts()) == 1000 })
	toggled := fixtures.Hammer(b, 3, func() (bool, error) { return l.knock(20500) })
	key := state.RouterKey("10.91.1.1", 1)
	turn := func(value string) time.Time {
		began := time.Now()
		if _, err := etcd.Put(b.Context(), key, value); err != nil {
			b.Fatal(err)
		}
		return began
	}
	var off, on []time.Duration
	for b.Loop() {
		off = append(off, toggled.Quiet(turn("DISABLED")))
		if n := len(l.ledPorts()); n > 0 {
			b.Fatalf("the kernel still leads %d ports", n)
		}
		on = append(on, toggled.Next(turn("")))
		eventually(b, "the kernel leads again", func() bool { return len(l.ledPorts()) == 1000 })
	}
	fixtures.ReportTimes(b, "off", off)
	fixtures.ReportTimes(b, "on", on)
}

// crowd1000 makes instances that all have the same leader, which says something to
// whoever connects.
func (l *lab) crowd1000(etcd *clientv3.Client) {
	const addr = "10.91.11.2:7432"
	listener := l.hosts[0].Listen(l.t, addr)
	go func() {
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				conn.Write([]byte{'R'})
				io.Copy(io.Discard, conn)
			}()
		}
	}()
	l.t.Cleanup(func() { listener.Close() })
	patroni := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"role": "primary", "state": "running"}`)
	}))
	l.t.Cleanup(patroni.Close)
	member, err := json.Marshal(map[string]string{
		"conn_url": "postgres://" + addr + "/postgres", "api_url": patroni.URL, "role": "primary", "state": "running",
	})
	if err != nil {
		l.t.Fatal(err)
	}
	for i := range 1000 {
		id := "a" + strconv.Itoa(i)
		for key, value := range map[string]string{
			state.MemberKey(id, "n"): string(member), state.LeaderKey(id): "n", state.AllocationKey(id): strconv.Itoa(20000 + i),
		} {
			if _, err := etcd.Put(l.t.Context(), key, value); err != nil {
				l.t.Fatal(err)
			}
		}
	}
}

// route runs a router until stop is called.
func (l *lab) route(cfg router.Config, etcd *clientv3.Client) (stop func()) {
	l.t.Helper()
	r, err := router.New(cfg, etcd)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Errorf("Run: %v", err)
		}
	}
}

// knock connects to a public port and reports whether the leader answers, and not
// the router.
func (l *lab) knock(port int) (bool, error) {
	c := l.clients["direct"]
	addr := net.JoinHostPort(c.router["ipv4"], strconv.Itoa(port))
	conn, err := c.host.Dial(context.Background(), &net.Dialer{Timeout: fixtures.Patience}, addr)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	startup := append(binary.BigEndian.AppendUint32(nil, 3<<16), "user\x00alice\x00\x00"...)
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(startup)+4)), startup...)); err != nil {
		return false, err
	}
	answer := make([]byte, 1)
	_, err = io.ReadFull(conn, answer)
	return answer[0] == 'R', err
}
