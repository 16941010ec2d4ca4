package broker_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/pgpatron/pgpatron/broker"
)

// Many at once: one operation each, whoever asks how often.
func TestConcurrentRequests(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	var wg sync.WaitGroup
	operations := make([]string, 16)
	for i := range operations {
		wg.Go(func() {
			r := s.call("PUT", instancePath("same")+"?accepts_incomplete=true", order(singlePlan))
			if r.status == http.StatusAccepted {
				operations[i] = r.field(t, "operation")
			} else if r.status != http.StatusOK {
				t.Errorf("got %d %s", r.status, r.body)
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, op := range operations {
		if op != "" {
			seen[op] = true
		}
	}
	if len(seen) != 1 {
		t.Errorf("%d operations for one instance, want 1", len(seen))
	}
}

// A broker that ends in the middle of an operation delays it; another, or the
// next, takes it to its end.
func TestAnotherBrokerCarriesOn(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.nodes.Hold()
	operation := s.want(s.call("PUT", instancePath("i1")+"?accepts_incomplete=true", order(clusterPlan)), http.StatusAccepted).field(t, "operation")
	s.stop()
	s.nodes.Release()
	s.start()
	s.await("i1", operation, "succeeded")
}

func TestTwoBrokersAnswerAlike(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	_, second, stop := s.run()
	defer stop()
	operation := s.want(s.call("PUT", instancePath("i1")+"?accepts_incomplete=true", order(clusterPlan)), http.StatusAccepted).field(t, "operation")
	if r := s.callAt(second, "GET", instancePath("i1")+"/last_operation?operation="+operation, nil); r.status != http.StatusOK {
		t.Errorf("the second broker does not know the operation: %d %s", r.status, r.body)
	}
	s.await("i1", operation, "succeeded")
	body := map[string]any{"service_id": broker.ServiceID, "plan_id": clusterPlan}
	first := s.want(s.call("PUT", bindingPath("i1", "b1"), body), http.StatusCreated)
	again := s.want(s.callAt(second, "PUT", bindingPath("i1", "b1"), body), http.StatusOK)
	if first.body != again.body {
		t.Errorf("the second broker gives other credentials for the same binding")
	}
}
