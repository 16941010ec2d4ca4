// Package bench_test compares the ways to a PostgreSQL: direct and through the
// router's data planes. A client, the router's host and the server's host are
// network namespaces of one machine, so that only ratios mean anything:
//
//	go test ./router/bench -v -timeout 30m -args -rounds 7
package bench_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/fixtures/netlab"
	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

var (
	rounds  = flag.Int("rounds", 0, "how often each way is measured; 0 skips the comparison")
	seconds = flag.Int("seconds", 4, "how long each run of pgbench takes")
)

func TestMain(m *testing.M) { os.Exit(netlab.Main(m)) }

// TestCompare measures every way with every load, round by round, and prints the
// medians of their ratios to the first way.
func TestCompare(t *testing.T) {
	if *rounds == 0 {
		t.Skip("-rounds is 0")
	}
	l := newLab(t)
	ways := []way{
		{name: "direct", addr: l.server.Addr()},
		{name: "kernel", addr: l.route(router.KernelPlane, 30006), ours: true},
		{name: "user", addr: l.route(router.UserPlane, 30007), ours: true},
	}
	before := usage(t)
	time.Sleep(3 * time.Second)
	l.quiet = (usage(t) - before) / 3
	results := map[string]*series{}
	for range *rounds {
		for _, load := range loads {
			for _, w := range ways {
				rate, cpu := l.measure(load, w)
				s := results[load.name+w.name]
				if s == nil {
					s = &series{}
					results[load.name+w.name] = s
				}
				s.rates, s.cpu = append(s.rates, rate), append(s.cpu, cpu)
			}
		}
	}
	print(t, ways, results)
}

// way is one way to the server. Add what else is to be compared to TestCompare.
type way struct {
	name, addr string
	// ours is whether this process moves its bytes.
	ours bool
}

// series is what was measured of one load on one way: per second, and CPU
// seconds of this process for each.
type series struct{ rates, cpu []float64 }

func print(t *testing.T, ways []way, results map[string]*series) {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "load")
	for _, way := range ways[1:] {
		fmt.Fprintf(w, "\t%s / %s [min–max]\t%s: our CPU, µs each", way.name, ways[0].name, way.name)
	}
	for _, load := range loads {
		fmt.Fprintf(w, "\n%s", load.name)
		base := results[load.name+ways[0].name].rates
		for _, way := range ways[1:] {
			s := results[load.name+way.name]
			ratios := make([]float64, len(base))
			for i := range base {
				ratios[i] = s.rates[i] / base[i]
			}
			fmt.Fprintf(w, "\t%.3f [%.2f–%.2f]\t%.2f", median(ratios), slices.Min(ratios), slices.Max(ratios), 1e6*median(s.cpu))
		}
	}
	fmt.Fprintln(w)
	w.Flush()
	t.Logf("%d rounds\n%s", *rounds, out.String())
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// lab is a client, a router's host and a server's host in a row.
type lab struct {
	t              testing.TB
	client, router *netlab.Host
	server         *netlab.Postgres
	// quiet is the CPU time that this process uses each second while nothing is done.
	quiet            time.Duration
	pgbench, psqlBin string
	lines            string // a file to copy in
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, router: netlab.Here(t), client: netlab.NewHost(t, "client")}
	l.pgbench, l.psqlBin = netlab.Program(t, "pgbench"), netlab.Program(t, "psql")
	l.router.Forward(t)
	host := netlab.NewHost(t, "server")
	netlab.Join(t, l.router, l.client, "10.91.1.0/24")
	netlab.Join(t, l.router, host, "10.91.2.0/24")
	l.client.Route(t, "default", "10.91.1.1")
	host.Route(t, "default", "10.91.2.1")
	l.server = netlab.NewPostgres(t, host, "10.91.2.2")
	l.lines = writeLines(t)
	l.run(l.server.Addr(), l.pgbench, "--initialize", "--scale=10", "--quiet")
	l.run(l.server.Addr(), l.psqlBin, "--command", "CREATE TABLE sink (line text)")
	return l
}

// route starts a router whose sessions take a data plane, and returns its address.
func (l *lab) route(plane router.DataPlane, port int) string {
	l.t.Helper()
	client := fixtures.Etcd(l.t)
	netlab.NewCluster(l.t, client, "a", port).Lead(l.server)
	r, err := router.New(router.Config{
		IP: netip.MustParseAddr("10.91.1.1"), PID: port, Metrics: "127.0.0.1:0", DataPlane: plane,
		Ports: state.Ports{First: port, Last: port}, Log: slog.New(slog.DiscardHandler),
	}, client)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Error(err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); r.Health().DataPlane.Plane != plane || !r.Health().OK; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("the router does not serve: %+v", r.Health())
		}
	}
	time.Sleep(time.Second) // for the leader to be found ready
	return fmt.Sprintf("10.91.1.1:%d", port)
}

// measure runs a load once and returns how much of it was done each second, and
// the CPU seconds of this process for each, but for what it uses anyway (for its
// etcd and its watches).
func (l *lab) measure(load load, w way) (rate, cpu float64) {
	l.t.Helper()
	before := usage(l.t)
	began := time.Now()
	done := load.run(l, w.addr)
	took := time.Since(began)
	cpu = max(0, (usage(l.t)-before).Seconds()-took.Seconds()*l.quiet.Seconds()) / done
	if load.timed {
		took = time.Duration(*seconds) * time.Second
	}
	return done / took.Seconds(), cpu
}

// usage is the CPU time that this process has used.
func usage(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// run runs a program on the client's host against a server, and returns what it
// says.
func (l *lab) run(addr, program string, args ...string) string {
	l.t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		l.t.Fatal(err)
	}
	// pgbench and psql do not have the same flags for this.
	to := []string{"PGHOST=" + host, "PGPORT=" + port, "PGUSER=postgres", "PGDATABASE=postgres", "PGSSLMODE=disable", program}
	out, err := l.client.Output("env", append(to, args...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}
