package state_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/embedded"
)

// contest is how long a contender allocates in one round.
const contest = time.Second

// benchPorts is a range that no benchmark reaches the end of.
var benchPorts = state.Ports{First: 1, Last: 1 << 30}

// contestedEtcd starts an etcd with both contenders' nextport: without one, an
// engine would look through the whole range for the highest port taken.
func contestedEtcd(b *testing.B) *embedded.Etcd {
	b.Helper()
	etcd := fixtures.EtcdServer(b)
	for _, key := range []string{state.NextPortKey(), plainPrefix + state.NextPortKey()} {
		if _, err := etcd.Client().Put(b.Context(), key, "1"); err != nil {
			b.Fatal(err)
		}
	}
	return etcd
}

// allocate gives the id a port.
type allocate func(ctx context.Context, id string) error

// tally is what a contender achieved in one round.
type tally struct {
	Latencies []time.Duration
}

func (t tally) perSecond() float64 { return float64(len(t.Latencies)) / contest.Seconds() }

// contend has callers allocate for the length of a round.
func contend(callers int, allocate allocate) (tally, error) {
	var mu sync.Mutex
	var all tally
	var failed error
	var running sync.WaitGroup
	end := time.Now().Add(contest)
	for caller := range callers {
		running.Go(func() {
			mine, err := contendAlone(caller, end, allocate)
			mu.Lock()
			defer mu.Unlock()
			all.Latencies = append(all.Latencies, mine...)
			if err != nil {
				failed = err
			}
		})
	}
	running.Wait()
	return all, failed
}

func contendAlone(caller int, end time.Time, allocate allocate) (latencies []time.Duration, err error) {
	for began := time.Now(); began.Before(end); began = time.Now() {
		id := fmt.Sprintf("%d-%d-%d", os.Getpid(), caller, began.UnixNano())
		if err := allocate(context.Background(), id); err != nil {
			return latencies, err
		}
		latencies = append(latencies, time.Since(began))
	}
	return latencies, nil
}

// The plain loop's keys lie where no engine of the benchmark watches.
const plainPrefix = "/plain"

// plainLoop allocates by compare-and-swap on nextport alone, in one round trip
// where nobody else comes between: a failed attempt brings the newest number.
func plainLoop(client *clientv3.Client) allocate {
	next := plainPrefix + state.NextPortKey()
	return func(ctx context.Context, id string) error {
		resp, err := client.Get(ctx, next)
		if err != nil {
			return err
		}
		found := resp.Kvs[0]
		for {
			port, err := strconv.Atoi(string(found.Value))
			if err != nil {
				return err
			}
			resp, err := client.Txn(ctx).
				If(clientv3.Compare(clientv3.ModRevision(next), "=", found.ModRevision)).
				Then(
					clientv3.OpPut(next, strconv.Itoa(port+1)),
					clientv3.OpPut(plainPrefix+state.AllocationKey(id), strconv.Itoa(port)),
					clientv3.OpPut(plainPrefix+state.PortKey(port), id),
				).
				Else(clientv3.OpGet(next)).
				Commit()
			if err != nil || resp.Succeeded {
				return err
			}
			found = resp.Responses[0].GetResponseRange().Kvs[0]
		}
	}
}

// engineAllocator allocates through an engine, which it starts.
func engineAllocator(t testing.TB, client *clientv3.Client) allocate {
	t.Helper()
	schema := state.NewSchema()
	schema.Watch("/routing/")
	e := benchEngine(t, state.EngineConfig{Client: client, Schema: schema, Reactor: idle})
	return func(ctx context.Context, id string) error {
		return e.Do(ctx, state.Group{Name: "allocate", Apply: func(tx *state.Tx) error {
			_, err := benchPorts.Allocate(tx, id)
			return err
		}})
	}
}

// benchEngine starts an engine, waits until it is ready and stops it with the
// benchmark.
func benchEngine(t testing.TB, cfg state.EngineConfig) *state.Engine {
	t.Helper()
	cfg.Name = "benchmark"
	e, err := state.NewEngine(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-e.Ready()
	return e
}

// BenchmarkAllocateInOneProcess has 64 callers allocate through one engine,
// and 64 plain loops, by turns.
func BenchmarkAllocateInOneProcess(b *testing.B) {
	client := contestedEtcd(b).Client()
	plain, engine := plainLoop(client), engineAllocator(b, client)
	var duel duel
	for b.Loop() {
		duel.round(b,
			func() (tally, error) { return contend(64, plain) },
			func() (tally, error) { return contend(64, engine) })
	}
	duel.report(b)
}

// BenchmarkAllocateInEightProcesses has the 64 callers in eight processes with
// an engine each, and the 64 plain loops in eight others, by turns.
func BenchmarkAllocateInEightProcesses(b *testing.B) {
	endpoint := contestedEtcd(b).Endpoints()[0]
	var plain, engines []*child
	for range 8 {
		plain = append(plain, startChild(b, "allocator", allocatorConfig{endpoint, 8, false}))
		engines = append(engines, startChild(b, "allocator", allocatorConfig{endpoint, 8, true}))
	}
	for _, c := range append(plain, engines...) {
		c.hear(&struct{}{})
	}
	var duel duel
	for b.Loop() {
		duel.round(b,
			func() (tally, error) { return together(plain), nil },
			func() (tally, error) { return together(engines), nil })
	}
	duel.report(b)
}

// together has processes contend at the same time and adds up.
func together(processes []*child) tally {
	for _, c := range processes {
		c.tell("contend")
	}
	var all tally
	for _, c := range processes {
		var one tally
		c.hear(&one)
		all.Latencies = append(all.Latencies, one.Latencies...)
	}
	return all
}

type allocatorConfig struct {
	Endpoint string
	Callers  int
	Engine   bool
}

// beAllocator contends whenever it is told to.
func beAllocator(t *testing.T, config []byte, p parent) {
	var cfg allocatorConfig
	if err := json.Unmarshal(config, &cfg); err != nil {
		t.Fatal(err)
	}
	client := fixtures.EtcdClient(t, cfg.Endpoint)
	allocate := plainLoop(client)
	if cfg.Engine {
		allocate = engineAllocator(t, client)
	}
	for p.tell(t, struct{}{}); p.hear(); {
		result, err := contend(cfg.Callers, allocate)
		if err != nil {
			t.Fatal(err)
		}
		p.tell(t, result)
	}
}

// duel compares the engine with the plain loop, round by round: on a shared
// machine only what ran side by side can be compared.
type duel struct {
	plain, engine, ratios []float64
	latencies             []time.Duration
}

func (d *duel) round(b *testing.B, plain, engine func() (tally, error)) {
	b.Helper()
	p, err := plain()
	if err != nil {
		b.Fatal(err)
	}
	e, err := engine()
	if err != nil {
		b.Fatal(err)
	}
	d.plain = append(d.plain, p.perSecond())
	d.engine = append(d.engine, e.perSecond())
	d.ratios = append(d.ratios, e.perSecond()/p.perSecond())
	d.latencies = append(d.latencies, e.Latencies...)
}

func (d *duel) report(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(d.plain), "plain/s")
	b.ReportMetric(median(d.engine), "engine/s")
	b.ReportMetric(median(d.ratios), "ratio")
	b.ReportMetric(milliseconds(quantile(d.latencies, 0.5)), "p50-ms")
	b.ReportMetric(milliseconds(quantile(d.latencies, 0.99)), "p99-ms")
	b.ReportMetric(milliseconds(quantile(d.latencies, 1)), "max-ms")
}
