package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// Of eight different orders for one id at one moment one is taken; the others
// are told that the id is. Two brokers make no difference.
func TestDifferentOrdersAtOnce(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	_, second, stop := s.run()
	defer stop()
	var wg sync.WaitGroup
	var accepted atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			body := order(singlePlan)
			body["space_guid"] = fmt.Sprint("space", i)
			switch r := s.callAt([]string{s.url, second}[i%2], "PUT", async("same"), body); r.status {
			case http.StatusAccepted:
				accepted.Add(1)
			case http.StatusConflict:
			default:
				t.Errorf("got %d %s", r.status, r.body)
			}
		})
	}
	wg.Wait()
	if n := accepted.Load(); n != 1 {
		t.Errorf("%d orders were accepted, want 1", n)
	}
}

// Binds and unbinds of one id, all at once: each is answered as the API allows,
// and in the end there is one login, or none.
func TestBindsAndUnbindsOfOneID(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	_, second, stop := s.run()
	defer stop()
	allowed := map[string][]int{
		"PUT":    {http.StatusOK, http.StatusCreated, http.StatusUnprocessableEntity},
		"DELETE": {http.StatusOK, http.StatusGone},
	}
	for range 3 {
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				method, path := "PUT", bindingPath("i1", "b1")
				if i%3 == 2 {
					method, path = "DELETE", path+ids(singlePlan)
				}
				r := s.callAt([]string{s.url, second}[i%2], method, path, bindOrder(singlePlan, nil))
				if !slices.Contains(allowed[method], r.status) {
					t.Errorf("%s: got %d %s", method, r.status, r.body)
				}
			})
		}
		wg.Wait()
	}
	s.call("DELETE", bindingPath("i1", "b1")+ids(singlePlan), nil)
	if n := s.database.count("i1"); n != 0 {
		t.Errorf("%d logins are left, want none", n)
	}
	made := s.want(s.call("PUT", bindingPath("i1", "b1"), bindOrder(singlePlan, nil)), http.StatusCreated).bound(t)
	if login, ok := s.database.login("i1", made.Credentials.Username); !ok || login.Password.Reveal() != made.Credentials.Password {
		t.Error("the login that was told is not there")
	}
}

// A client that is cut off leaves a whole request or none.
func TestClientIsCutOff(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	raw, err := json.Marshal(order(singlePlan))
	if err != nil {
		t.Fatal(err)
	}
	head := fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y2Y6c2VjcmV0\r\nX-Broker-API-Version: 2.17\r\nContent-Length: %d\r\n\r\n", async("i1"), len(raw))
	for sent := 0; sent <= len(raw); sent += 16 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, head, string(raw[:sent]))
		conn.Close()
	}
	if keys := s.keys(); len(keys) != 0 {
		t.Errorf("half a request left %q", keys)
	}
	for i := range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
		r, err := http.NewRequestWithContext(ctx, "PUT", s.url+async("i1"), strings.NewReader(string(raw)))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("cf", "secret")
		r.Header.Set("X-Broker-API-Version", "2.17")
		if resp, err := http.DefaultClient.Do(r); err == nil {
			resp.Body.Close()
		}
		cancel()
	}
	r := s.call("PUT", async("i1"), order(singlePlan))
	if r.status != http.StatusAccepted && r.status != http.StatusOK {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	s.poll("the instance is usable", func() bool { return s.call("GET", instancePath("i1"), nil).status == http.StatusOK })
	s.deprovision("i1", singlePlan)
	if keys := s.keys(); len(keys) != 1 {
		t.Errorf("left in etcd: %q", keys)
	}
}

// Every answer is the same after a restart, and from another broker.
func TestAnswersSurviveARestart(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	operation := s.begin("PUT", async("i1"), order(singlePlan))
	s.await("i1", operation, "succeeded")
	s.want(s.call("PUT", bindingPath("i1", "b1"), lasting(singlePlan)), http.StatusCreated)
	gone := s.begin("PUT", async("gone"), order(singlePlan))
	s.await("gone", gone, "succeeded")
	deleted := s.begin("DELETE", instancePath("gone")+ids(singlePlan), nil)
	s.poll("it is gone", func() bool { return s.call("GET", pollPath("gone", deleted), nil).status == http.StatusGone })
	other := order(singlePlan)
	other["space_guid"] = "other"
	requests := []struct {
		method, path string
		body         any
	}{
		{"GET", "/v2/catalog", nil},
		{"PUT", async("i1"), order(singlePlan)},
		{"PUT", async("i1"), other},
		{"GET", instancePath("i1"), nil},
		{"GET", pollPath("i1", operation), nil},
		{"GET", pollPath("i1", ""), nil},
		{"GET", pollPath("i1", "nonsense"), nil},
		{"GET", pollPath("gone", deleted), nil},
		{"GET", instancePath("gone"), nil},
		{"DELETE", instancePath("gone") + ids(singlePlan), nil},
		{"PUT", bindingPath("i1", "b1"), lasting(singlePlan)},
		{"PUT", bindingPath("i1", "b1"), bindOrder(singlePlan, nil)},
		{"GET", bindingPath("i1", "b1"), nil},
		{"GET", bindingPath("i1", "b1") + "/last_operation", nil},
		{"DELETE", bindingPath("i1", "b2") + ids(singlePlan), nil},
	}
	answers := func(base string) []string {
		var out []string
		for _, r := range requests {
			a := s.callAt(base, r.method, r.path, r.body)
			out = append(out, fmt.Sprint(r.method, " ", r.path, ": ", a.status, " ", a.header.Get("ETag"), a.body))
		}
		return out
	}
	before := answers(s.url)
	_, second, stop := s.run()
	defer stop()
	if diff := cmp.Diff(before, answers(second)); diff != "" {
		t.Errorf("a second broker answers otherwise:\n%s", diff)
	}
	s.stop()
	s.start()
	if diff := cmp.Diff(before, answers(s.url)); diff != "" {
		t.Errorf("after a restart the broker answers otherwise:\n%s", diff)
	}
}
