package broker_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/broker"
	"github.com/pgpatron/pgpatron/state"
)

const (
	seededInstances   = 10_000
	requestsPerSecond = 200
)

// BenchmarkLatency drives the API at 200 requests a second while etcd holds
// 10 000 instances, and reports how long answers take. Run it with a fixed
// number of requests, such as -benchtime 4000x.
func BenchmarkLatency(b *testing.B) {
	s := newSite(b, "10.0.0.1")
	s.stop()
	s.config.Log = slog.New(slog.DiscardHandler)
	s.nodes.Hold()
	s.seed()
	s.start()
	requests := map[string]func(i int) string{
		"catalog":        func(int) string { return "/v2/catalog" },
		"instance":       func(i int) string { return instancePath(seededID(i)) },
		"last operation": func(i int) string { return pollPath(seededID(i), "provision-"+seededID(i)) },
	}
	for name, path := range requests {
		b.Run(name, func(b *testing.B) { s.drive(b, path) })
	}
	s.stop()
	s.config.Ports.Last = 60000
	s.start()
	s.awaitBackend()
	stop := s.keepProvisioning()
	defer stop()
	for name, path := range requests {
		b.Run(name+" while others provision", func(b *testing.B) { s.drive(b, path) })
	}
}

func seededID(i int) string { return fmt.Sprintf("seeded-%05d", i*7919%seededInstances) }

// seed writes the records of instances that are usable.
func (s *site) seed() {
	s.t.Helper()
	var ops []clientv3.Op
	put := func(key string, record any) {
		raw, err := json.Marshal(record)
		if err != nil {
			s.t.Fatal(err)
		}
		ops = append(ops, clientv3.OpPut(key, string(raw)))
	}
	for i := range seededInstances {
		id := seededID(i)
		put(state.InstanceKey(id), state.Instance{
			InstanceID: id, ServiceID: broker.ServiceID, PlanID: clusterPlan, OrganizationGUID: "org", SpaceGUID: "space",
			Operation: state.Operation{ID: "provision-" + id, Type: state.Provision, State: state.Succeeded},
		})
		put(state.ClusterKey(id), state.Cluster{
			InstanceID: id, ServiceID: broker.ServiceID, PlanID: clusterPlan, AllocatedPort: i + 1, Database: "app",
			Nodes:    []state.Node{{NodeID: id + "-a", BackendID: "10.0.0.1"}, {NodeID: id + "-b", BackendID: "10.0.0.2"}},
			NodeSpec: state.NodeSpec{Image: "image:1"},
		})
		if len(ops) == 100 {
			if _, err := s.client.Txn(s.t.Context()).Then(ops...).Commit(); err != nil {
				s.t.Fatal(err)
			}
			ops = nil
		}
	}
}

// drive sends b.N requests at an even pace, whether or not others are answered.
func (s *site) drive(b *testing.B, path func(i int) string) {
	took := make([]time.Duration, b.N)
	var wg sync.WaitGroup
	pace := time.NewTicker(time.Second / requestsPerSecond)
	defer pace.Stop()
	for i := range b.N {
		<-pace.C
		wg.Go(func() {
			began := time.Now()
			if status := s.get(b, path(i)); status != http.StatusOK {
				b.Errorf("%s: got %d", path(i), status)
			}
			took[i] = time.Since(began)
		})
	}
	wg.Wait()
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(took[len(took)*p/100].Microseconds())/1000, fmt.Sprintf("p%d-ms", p))
	}
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
}

// get is s.call without what would slow the benchmark down.
func (s *site) get(b *testing.B, path string) int {
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		b.Error(err)
		return 0
	}
	r.SetBasicAuth("cf", "secret")
	r.Header.Set("X-Broker-API-Version", "2.17")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Error(err)
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		b.Error(err)
	}
	return resp.StatusCode
}

// keepProvisioning orders ten instances a second until stop.
func (s *site) keepProvisioning() (stop func()) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		pace := time.NewTicker(time.Second / 10)
		defer pace.Stop()
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			case <-pace.C:
				if r := s.call("PUT", async(fmt.Sprint("new-", i)), order(singlePlan)); r.status != http.StatusAccepted {
					s.t.Errorf("got %d %s", r.status, r.body)
				}
			}
		}
	})
	return func() { close(end); wg.Wait() }
}
