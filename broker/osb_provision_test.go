package broker_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

func TestProvisionIsIdempotent(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.nodes.Hold()
	path := instancePath("i1") + "?accepts_incomplete=true"
	first := s.want(s.call("PUT", path, order(clusterPlan)), http.StatusAccepted)
	again := s.want(s.call("PUT", path, order(clusterPlan)), http.StatusAccepted)
	if a, b := first.field(t, "operation"), again.field(t, "operation"); a != b || a == "" {
		t.Errorf("the repeated request has operation %q, the first %q", b, a)
	}
	s.want(s.call("PUT", path, order(singlePlan)), http.StatusConflict)
	s.nodes.Release()
	s.await("i1", first.field(t, "operation"), "succeeded")
	s.want(s.call("PUT", path, order(clusterPlan)), http.StatusOK)
	s.want(s.call("PUT", path, order(singlePlan)), http.StatusConflict)
}

func TestMaintenanceInfoMustBeTheCatalogs(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	body := order(singlePlan)
	body["maintenance_info"] = map[string]any{"version": "99"}
	r := s.want(s.call("PUT", instancePath("i1")+"?accepts_incomplete=true", body), http.StatusUnprocessableEntity)
	if got := r.field(t, "error"); got != "MaintenanceInfoConflict" {
		t.Errorf("error is %q", got)
	}
	body["maintenance_info"] = map[string]any{"version": "1", "description": "as the platform keeps it"}
	s.want(s.call("PUT", instancePath("i1")+"?accepts_incomplete=true", body), http.StatusAccepted)
}

func TestDeprovisionStopsProvision(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.database.setDown(true)
	s.want(s.call("PUT", instancePath("i1")+"?accepts_incomplete=true", order(clusterPlan)), http.StatusAccepted)
	s.deprovision("i1", clusterPlan)
	if keys := s.keys(); len(keys) != 1 {
		t.Errorf("left in etcd: %q, want nextport alone", keys)
	}
}

func TestFailedProvisionLeavesItsRecordAlone(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.stop()
	s.config.ProvisionTimeout = 300 * time.Millisecond
	s.start()
	s.database.setDown(true)
	operation := s.want(s.call("PUT", instancePath("i1")+"?accepts_incomplete=true", order(clusterPlan)), http.StatusAccepted).field(t, "operation")
	r := s.await("i1", operation, "failed")
	if why := r.field(t, "description"); !strings.Contains(why, "no write through port 30000") {
		t.Errorf("description %q does not say why", why)
	}
	if keys := s.keys(); len(keys) != 2 {
		t.Errorf("left in etcd: %q, want the instance's record and nextport", keys)
	}
	s.deprovision("i1", clusterPlan)
}

func TestPortsRunOutWithAClearError(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	for i := range 5 {
		s.provision(fmt.Sprintf("i%d", i), singlePlan)
	}
	r := s.want(s.call("PUT", instancePath("i5")+"?accepts_incomplete=true", order(singlePlan)), http.StatusBadRequest)
	if !strings.Contains(r.body, "no public port left in 30000-30004") {
		t.Errorf("got %s", r.body)
	}
	s.deprovision("i2", singlePlan)
	s.provision("i5", singlePlan)
}

// A router that cannot listen on a port makes the broker take another one, as
// long as nobody was told.
func TestPortInUseOnARouterIsSkipped(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	if _, err := s.client.Put(t.Context(), state.UnboundKey(30000, "10.0.0.9@-@1"), "address already in use"); err != nil {
		t.Fatal(err)
	}
	s.provision("i1", singlePlan)
	resp, err := s.client.Get(t.Context(), state.AllocationKey("i1"))
	if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "30001" {
		t.Fatalf("allocation is %v (%v), want 30001", resp.Kvs, err)
	}
	resp, err = s.client.Get(t.Context(), state.PortKey(30000))
	if err != nil || len(resp.Kvs) != 1 || !strings.HasPrefix(string(resp.Kvs[0].Value), "reserved: ") {
		t.Errorf("port 30000 is %v (%v), want reserved", resp.Kvs, err)
	}
}
