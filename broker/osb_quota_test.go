package broker_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/state"
)

// newQuotaSite starts a site whose plan single may have three instances.
func newQuotaSite(t *testing.T) *site {
	s := newSite(t, "10.0.0.1")
	s.stop()
	s.config.Plans = catalog.DefaultPlans()
	s.config.Plans[0].MaxInstances = 3
	s.start()
	s.awaitBackend()
	return s
}

// The plan says how many clients routers serve an instance, and another plan
// another number.
func TestSessionsOfAPlan(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.stop()
	s.config.Plans = catalog.DefaultPlans()
	s.config.Plans[0].MaxSessions, s.config.Plans[1].MaxSessions = 50, 100
	s.start()
	s.awaitBackend()
	s.provision("i", singlePlan)
	if got := s.cluster("i").MaxSessions; got != 50 {
		t.Errorf("the record says %d sessions, want 50", got)
	}
	r := s.want(s.call("PATCH", async("i"), order(clusterPlan)), http.StatusAccepted)
	s.await("i", r.field(t, "operation"), "succeeded")
	if got := s.cluster("i").MaxSessions; got != 100 {
		t.Errorf("with another plan the record says %d sessions, want 100", got)
	}
}

// count returns the counter of a plan's instances.
func (s *site) count(plan string) string {
	s.t.Helper()
	resp, err := s.client.Get(s.t.Context(), state.PlanCountKey(plan))
	if err != nil || len(resp.Kvs) != 1 {
		return fmt.Sprint("none: ", err)
	}
	return string(resp.Kvs[0].Value)
}

func TestQuotaOfAPlan(t *testing.T) {
	s := newQuotaSite(t)
	for i := range 3 {
		s.provision(fmt.Sprint("i", i), singlePlan)
	}
	r := s.want(s.call("PUT", async("i3"), order(singlePlan)), http.StatusForbidden)
	if got := r.field(t, "description"); got != "quota: plan single may have 3 instances, and has them" {
		t.Errorf("description is %q", got)
	}
	s.want(s.call("GET", pollPath("i3", ""), nil), http.StatusNotFound)
	s.want(s.call("PUT", async("i0"), order(singlePlan)), http.StatusOK)
	s.deprovision("i1", singlePlan)
	s.provision("i3", singlePlan)
	if got := s.count(singlePlan); got != "3" {
		t.Errorf("counter is %s, want 3", got)
	}
}

// However many ask two brokers at once, the plan has what it may.
func TestQuotaHoldsBetweenBrokers(t *testing.T) {
	s := newQuotaSite(t)
	_, second, stop := s.run()
	defer stop()
	var wg sync.WaitGroup
	var accepted atomic.Int64
	for i := range 16 {
		wg.Go(func() {
			r := s.callAt([]string{s.url, second}[i%2], "PUT", async(fmt.Sprint("i", i)), order(singlePlan))
			switch {
			case r.status == http.StatusAccepted:
				accepted.Add(1)
			case r.status != http.StatusForbidden && !strings.Contains(r.body, "not enough backends"):
				t.Errorf("got %d %s", r.status, r.body)
			}
		})
	}
	wg.Wait()
	if n := accepted.Load(); n != 3 || s.count(singlePlan) != "3" {
		t.Errorf("%d instances were accepted, the counter is %s, want 3", n, s.count(singlePlan))
	}
}

// Instances that came when there was no counter, or a wrong one, are counted.
func TestCounterIsMended(t *testing.T) {
	s := newQuotaSite(t)
	s.provision("i0", singlePlan)
	for _, wrong := range []string{"7", ""} {
		s.stop()
		var err error
		if wrong == "" {
			_, err = s.client.Delete(t.Context(), state.PlanCountKey(singlePlan))
		} else {
			_, err = s.client.Put(t.Context(), state.PlanCountKey(singlePlan), wrong)
		}
		if err != nil {
			t.Fatal(err)
		}
		s.start()
		s.poll("the counter is right", func() bool { return s.count(singlePlan) == "1" })
	}
}
