package state_test

import (
	"context"
	"encoding/json"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// Who looks at the site, each in a process of its own.
const (
	// bareWatch is a watch without an engine: the least that following costs.
	bareWatch = "bare"
	// observer is an engine with the tables by which a router steers.
	observer = "observer"
	// router is one with a session, too, that can write.
	router = "router"
)

// observation is how long one of them is watched in one round.
const observation = 10 * time.Second

// BenchmarkObserve has a bare watch, an observer and a router look, by turns,
// at a site on which 4 000 writes are made each second.
func BenchmarkObserve(b *testing.B) {
	site := newSite(b)
	ctx, cancel := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	began, written := time.Now(), int64(0)
	writing.Go(func() { written = patronis(ctx, site.Client()) })
	writing.Go(func() { elect(ctx, site.Client()) })
	kinds := []string{bareWatch, observer, router}
	seen := map[string]*observed{bareWatch: {}, observer: {}, router: {}}
	for b.Loop() {
		for _, kind := range kinds {
			seen[kind].add(observe(b, site.Endpoints()[0], kind))
		}
	}
	cancel()
	writing.Wait()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(written)/time.Since(began).Seconds(), "writes/s")
	for _, kind := range kinds {
		seen[kind].report(b, kind)
	}
}

// BenchmarkLoad loads the site in a new process, until the first picture.
func BenchmarkLoad(b *testing.B) {
	site := newSite(b)
	for _, kind := range []string{observer, router} {
		b.Run(kind, func(b *testing.B) {
			var took, peak []float64
			for b.Loop() {
				c := startChild(b, "observer", observerConfig{site.Endpoints()[0], kind})
				var l loaded
				c.hear(&l)
				took, peak = append(took, milliseconds(l.Took)), append(peak, l.Peak)
				c.end()
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(took), "load-ms")
			b.ReportMetric(median(peak), "peak-MiB")
		})
	}
}

// observe starts an observer, lets it settle and watches it for a while.
func observe(b *testing.B, endpoint, kind string) sightings {
	c := startChild(b, "observer", observerConfig{endpoint, kind})
	c.hear(&loaded{})
	time.Sleep(time.Second)
	c.tell("begin")
	time.Sleep(observation)
	c.tell("end")
	var s sightings
	c.hear(&s)
	c.end()
	return s
}

// observed is what all observers of one kind told.
type observed struct {
	cpu, rss, heap, ticks []float64
	latencies             []time.Duration
}

func (o *observed) add(s sightings) {
	o.cpu = append(o.cpu, s.CPU)
	o.rss = append(o.rss, s.RSS)
	o.heap = append(o.heap, s.Heap)
	o.ticks = append(o.ticks, float64(s.Ticks)/observation.Seconds())
	o.latencies = append(o.latencies, s.Latencies...)
}

func (o *observed) report(b *testing.B, kind string) {
	b.ReportMetric(100*median(o.cpu), kind+"-core-%")
	b.ReportMetric(median(o.rss), kind+"-rss-MiB")
	b.ReportMetric(median(o.heap), kind+"-heap-MiB")
	b.ReportMetric(median(o.ticks), kind+"-ticks/s")
	b.ReportMetric(milliseconds(quantile(o.latencies, 0.5)), kind+"-p50-ms")
	b.ReportMetric(milliseconds(quantile(o.latencies, 0.99)), kind+"-p99-ms")
}

type observerConfig struct {
	Endpoint string
	Kind     string
}

// loaded is what an observer's process tells once it has its first picture.
type loaded struct {
	Took time.Duration
	// Peak is the most memory that the process held, in MiB.
	Peak float64
}

// sightings is what it tells of an observation.
type sightings struct {
	// CPU is the share of one core that the process used.
	CPU float64
	// RSS is the memory that it holds, Heap what lives of it, in MiB.
	RSS, Heap float64
	// Latencies are the times from the put of a leader key to the Tick that saw
	// it.
	Latencies []time.Duration
	Ticks     int
}

// beObserver looks at the site and tells what it saw between two words.
func beObserver(t *testing.T, config []byte, p parent) {
	var cfg observerConfig
	if err := json.Unmarshal(config, &cfg); err != nil {
		t.Fatal(err)
	}
	client, look := fixtures.EtcdClient(t, cfg.Endpoint), &lookout{}
	began := time.Now()
	if cfg.Kind == bareWatch {
		look.watch(t, client)
	} else {
		look.steer(t, client, cfg.Kind)
	}
	p.tell(t, loaded{time.Since(began), memory("VmHWM")})
	for p.hear() {
		look.begin()
		p.hear()
		p.tell(t, look.end())
	}
}

// lookout notes what one observer sees.
type lookout struct {
	mu    sync.Mutex
	seen  sightings
	began time.Time
	cpu   time.Duration
}

// watch looks by a bare watch.
func (l *lookout) watch(t *testing.T, client *clientv3.Client) {
	responses := client.Watch(t.Context(), state.ServicePrefix, clientv3.WithPrefix())
	go func() {
		for resp := range responses {
			l.tick()
			for _, ev := range resp.Events {
				if strings.HasSuffix(string(ev.Kv.Key), "/leader") {
					l.saw(string(ev.Kv.Value))
				}
			}
		}
	}()
}

// steer looks by an engine with a router's reactor.
func (l *lookout) steer(t *testing.T, client *clientv3.Client, kind string) {
	schema := state.NewSchema()
	steer := steering(schema, l.saw)
	cfg := state.EngineConfig{Client: client, Schema: schema, Observer: kind == observer}
	if kind == router {
		state.Register(schema, state.RouterPattern, state.Text)
		state.Register(schema, state.UnboundPattern, state.Text)
		cfg.SessionTTL = 10 * time.Second
	}
	cfg.Reactor = reactor(func(ctx context.Context, tick state.Tick) ([]state.Group, error) {
		l.tick()
		return steer(ctx, tick)
	})
	benchEngine(t, cfg)
}

// steering returns a reactor that does as a router's: it finds where the leader
// is of each instance of which anything changed.
func steering(schema *state.Schema, saw func(leader string)) reactor {
	allocations := state.Register(schema, state.AllocationPattern, state.Integer)
	leaders, members := patroni.Leaders(schema), patroni.Members(schema)
	return func(context.Context, state.Tick) ([]state.Group, error) {
		changed := map[string]struct{}{}
		for params := range members.Changed() {
			changed[params[0]] = struct{}{}
		}
		for params := range leaders.Changed() {
			changed[params[0]] = struct{}{}
			leader, _ := leaders.Get(params[0])
			saw(leader.Value)
		}
		for id := range changed {
			leader, _ := leaders.Get(id)
			_, _ = allocations.Get(id)
			_, _ = members.Get(id, leader.Value)
		}
		return nil, nil
	}
}

// tick counts a Tick.
func (l *lookout) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen.Ticks++
}

// saw notes a leader that elect has put. Others have names that are no time.
func (l *lookout) saw(leader string) {
	put, err := strconv.ParseInt(leader, 10, 64)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen.Latencies = append(l.seen.Latencies, time.Since(time.Unix(0, put)))
}

func (l *lookout) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.began, l.cpu = sightings{}, time.Now(), cpuTime()
}

func (l *lookout) end() sightings {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen.CPU = float64(cpuTime()-l.cpu) / float64(time.Since(l.began))
	l.seen.RSS = memory("VmRSS")
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	l.seen.Heap = float64(m.HeapAlloc) / (1 << 20)
	return l.seen
}

// cpuTime returns what this process has used of all cores.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memory returns a size that the kernel tells of this process, in MiB.
func memory(field string) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	_, rest, _ := strings.Cut(string(status), field+":")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		panic(err)
	}
	return float64(kib) / 1024
}
