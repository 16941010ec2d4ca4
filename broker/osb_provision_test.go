package broker_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/broker"
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
	// Long enough for the nodes of a slow machine.
	s.config.ProvisionTimeout = 4 * time.Second
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

func TestAsyncIsRequired(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	const says = "This service plan requires client support for asynchronous service operations."
	refused := func(method, path string, body any) {
		t.Helper()
		r := s.want(s.call(method, path, body), http.StatusUnprocessableEntity)
		if r.field(t, "error") != "AsyncRequired" || r.field(t, "description") != says {
			t.Errorf("got %s", r.body)
		}
	}
	refused("PUT", instancePath("i1"), order(singlePlan))
	if keys := s.keys(); len(keys) != 0 {
		t.Errorf("a refused request left %q", keys)
	}
	s.nodes.Hold()
	operation := s.begin("PUT", async("i1"), order(singlePlan))
	refused("PUT", instancePath("i1"), order(singlePlan))
	s.nodes.Release()
	s.await("i1", operation, "succeeded")
	s.want(s.call("PUT", instancePath("i1"), order(singlePlan)), http.StatusOK)
	refused("DELETE", instancePath("i1")+"?service_id="+broker.ServiceID+"&plan_id="+singlePlan, nil)
}

// A request may be repeated after the operator brought a new image: only new
// instances need the catalog's version.
func TestRepeatedRequestIsOfItsTime(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	body := order(singlePlan)
	body["maintenance_info"] = map[string]any{"version": "1"}
	s.await("i1", s.begin("PUT", async("i1"), body), "succeeded")
	s.stop()
	s.config.Image = "image:2"
	s.start()
	s.want(s.call("PUT", async("i1"), body), http.StatusOK)
	s.awaitBackend()
	r := s.want(s.call("PUT", async("i2"), body), http.StatusUnprocessableEntity)
	if r.field(t, "error") != "MaintenanceInfoConflict" || r.field(t, "description") == "" {
		t.Errorf("got %s", r.body)
	}
}

// What a platform adds for itself makes no difference; what the user said does.
func TestSameOrder(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	with := func(key string, value any) map[string]any {
		o := order(clusterPlan)
		o["parameters"] = map[string]any{"synchronous": false}
		o[key] = value
		return o
	}
	s.await("i1", s.begin("PUT", async("i1"), with("x", 1)), "succeeded")
	for name, test := range map[string]struct {
		body   map[string]any
		status int
	}{
		"context":            {with("context", map[string]any{"platform": "cloudfoundry"}), http.StatusOK},
		"an unknown field":   {with("vendor_field", "x"), http.StatusOK},
		"other parameters":   {with("parameters", map[string]any{"synchronous": true}), http.StatusConflict},
		"no parameters":      {with("parameters", nil), http.StatusConflict},
		"other organization": {with("organization_guid", "other"), http.StatusConflict},
		"other space":        {with("space_guid", "other"), http.StatusConflict},
		"other plan":         {order(singlePlan), http.StatusConflict},
	} {
		r := s.call("PUT", async("i1"), test.body)
		if r.status != test.status || r.status == http.StatusConflict && !strings.Contains(r.body, "exists with other attributes") {
			t.Errorf("%s: got %d %s, want %d", name, r.status, r.body, test.status)
		}
	}
}

// With a port for replicas, an instance that has some gets one, and keeps none
// when it is deleted.
func TestReadOnlyPort(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.stop()
	s.config.ReadOnlyPorts = true
	s.start()
	s.awaitBackend()
	s.provision("one", singlePlan)
	s.provision("two", clusterPlan)
	one := s.want(s.call("PUT", bindingPath("one", "b"), bindOrder(singlePlan, nil)), http.StatusCreated).bound(t)
	if one.Credentials.ReadURI != "" || len(one.Endpoints[0].Ports) != 1 {
		t.Errorf("an instance without replicas has %+v", one)
	}
	write := s.want(s.call("PUT", bindingPath("two", "w"), bindOrder(clusterPlan, nil)), http.StatusCreated).bound(t)
	read := s.want(s.call("PUT", bindingPath("two", "r"), bindOrder(clusterPlan, map[string]any{"parameters": map[string]any{"read_only": true}})), http.StatusCreated).bound(t)
	if write.Credentials.Port != 30001 || !strings.Contains(write.Credentials.ReadURI, "@db.example:30002/") {
		t.Errorf("a binding that writes has %+v", write.Credentials)
	}
	if read.Credentials.Port != 30002 || read.Credentials.URI != read.Credentials.ReadURI {
		t.Errorf("a binding that reads has %+v", read.Credentials)
	}
	if got := fmt.Sprint(write.Endpoints); got != "[{db.example tcp [30001 30002]}]" {
		t.Errorf("endpoints are %s", got)
	}
	s.deprovision("one", singlePlan)
	s.deprovision("two", clusterPlan)
	if keys := s.keys(); len(keys) != 1 {
		t.Errorf("left in etcd: %q", keys)
	}
}
