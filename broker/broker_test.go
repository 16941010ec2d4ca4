package broker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/broker"
	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

func TestLifeCycle(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.provision("i1", clusterPlan)
	r := s.want(s.call("PUT", bindingPath("i1", "b1"), map[string]any{"service_id": broker.ServiceID, "plan_id": clusterPlan}), http.StatusCreated)
	var bound struct {
		Credentials struct{ URI, Username, Password, Host, Name string }
	}
	if err := json.Unmarshal([]byte(r.body), &bound); err != nil {
		t.Fatal(err)
	}
	c := bound.Credentials
	if got, ok := s.database.login("i1", c.Username); !ok || got.Password.Reveal() != c.Password {
		t.Errorf("the database has no login of the binding's name and password")
	}
	u, err := url.Parse(c.URI)
	if err != nil {
		t.Fatal(err)
	}
	if password, _ := u.User.Password(); u.Host != "db.example:30000" || u.User.Username() != c.Username || password != c.Password || u.Path != "/"+c.Name {
		t.Errorf("uri %s does not say what the other fields say", u.Redacted())
	}
	if again := s.want(s.call("GET", bindingPath("i1", "b1"), nil), http.StatusOK); !strings.Contains(again.body, c.Password) {
		t.Error("GET of the binding does not return its credentials")
	}
	s.want(s.call("DELETE", bindingPath("i1", "b1")+ids(clusterPlan), nil), http.StatusOK)
	if _, ok := s.database.login("i1", c.Username); ok {
		t.Error("the login is still there after unbind")
	}
	s.deprovision("i1", clusterPlan)
	if keys := s.keys(); len(keys) != 1 || keys[0] != state.NextPortKey() {
		t.Errorf("left in etcd: %q, want nextport alone", keys)
	}
}

func TestCatalog(t *testing.T) {
	s := newSite(t)
	r := s.want(s.call("GET", "/v2/catalog", nil), http.StatusOK)
	fixtures.Golden(t, "catalog.json", []byte(r.body))
}

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

func TestDescriptionTellsTheStep(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.nodes.Hold()
	operation := s.want(s.call("PUT", instancePath("i1")+"?accepts_incomplete=true", order(clusterPlan)), http.StatusAccepted).field(t, "operation")
	s.poll("the description counts nodes", func() bool {
		r := s.call("GET", instancePath("i1")+"/last_operation?operation="+operation, nil)
		return r.field(t, "description") == "0 of 2 nodes running"
	})
	s.database.setDown(true)
	s.nodes.Release()
	s.poll("the description names the port", func() bool {
		r := s.call("GET", instancePath("i1")+"/last_operation?operation="+operation, nil)
		return r.field(t, "description") == "waiting for a write through port 30000"
	})
	s.database.setDown(false)
	s.await("i1", operation, "succeeded")
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

func TestRefusals(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	with := func(key string, value any) map[string]any {
		o := order(clusterPlan)
		o[key] = value
		return o
	}
	async := "?accepts_incomplete=true"
	for name, test := range map[string]struct {
		method, path string
		body         any
		status       int
		says         string
	}{
		"not asynchronous":   {"PUT", instancePath("x"), order(clusterPlan), 422, "AsyncRequired"},
		"too few backends":   {"PUT", instancePath("x") + async, order(haPlan), 400, "not enough backends: plan ha needs 3, 2 are healthy"},
		"unknown plan":       {"PUT", instancePath("x") + async, order("nonsense"), 400, "not in the catalog"},
		"unknown service":    {"PUT", instancePath("x") + async, with("service_id", "nonsense"), 400, "not in the catalog"},
		"malformed JSON":     {"PUT", instancePath("x") + async, `{"service_id":`, 400, "is not one JSON object"},
		"trailing junk":      {"PUT", instancePath("x") + async, `{} {}`, 400, "is not one JSON object"},
		"wrong type":         {"PUT", instancePath("x") + async, with("plan_id", 7), 400, "plan_id"},
		"unknown parameter":  {"PUT", instancePath("x") + async, with("parameters", map[string]any{"nodes": 3}), 400, `unknown parameter \"nodes\"`},
		"parameter's type":   {"PUT", instancePath("x") + async, with("parameters", map[string]any{"synchronous": "no"}), 400, "must be true or false"},
		"long id":            {"PUT", instancePath(strings.Repeat("x", 256)) + async, order(clusterPlan), 400, "longer than 255"},
		"control character":  {"PUT", "/v2/service_instances/a%00b" + async, order(clusterPlan), 400, "control characters"},
		"unknown instance":   {"GET", instancePath("x"), nil, 404, "does not exist"},
		"poll of nothing":    {"GET", instancePath("x") + "/last_operation", nil, 404, "does not exist"},
		"delete of nothing":  {"DELETE", instancePath("x") + ids(clusterPlan), nil, 410, ""},
		"bind to nothing":    {"PUT", bindingPath("x", "b"), order(clusterPlan), 404, "does not exist"},
		"unbind of nothing":  {"DELETE", bindingPath("x", "b") + ids(clusterPlan), nil, 410, ""},
		"no such path":       {"GET", "/v2/nonsense", nil, 404, "no such path"},
		"body over the size": {"PUT", instancePath("x") + async, strings.Repeat(" ", 1<<20+1), 400, "larger"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.call(test.method, test.path, test.body)
			if r.status != test.status || !strings.Contains(r.body, test.says) {
				t.Errorf("got %d %s, want %d and %q", r.status, r.body, test.status, test.says)
			}
		})
	}
	if keys := s.keys(); len(keys) != 0 {
		t.Errorf("refused requests left %q", keys)
	}
}

func TestLoginAndVersionAreChecked(t *testing.T) {
	s := newSite(t)
	for name, test := range map[string]struct {
		user, version string
		status        int
	}{
		"wrong user":    {"else", "2.17", 401},
		"no version":    {"cf", "", 412},
		"other version": {"cf", "3.0", 412},
		"junk version":  {"cf", "2.17abc", 412},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/v2/catalog", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth(test.user, "secret")
			r.Header.Set("X-Broker-API-Version", test.version)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var body struct{ Description string }
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Description == "" {
				t.Errorf("answer has no description (%v)", err)
			}
			if resp.StatusCode != test.status {
				t.Errorf("got %d, want %d", resp.StatusCode, test.status)
			}
		})
	}
}

// Ids that look alike are different instances with different keys.
func TestStrangeIDs(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	strange := []string{"a/b", "a%2Fb", `q"'; DROP TABLE x`, "ünï"}
	for _, id := range strange {
		s.provision(id, singlePlan)
	}
	ports := map[string]string{}
	for _, id := range strange {
		resp, err := s.client.Get(t.Context(), state.AllocationKey(id))
		if err != nil || len(resp.Kvs) != 1 {
			t.Fatalf("instance %q has no port (%v)", id, err)
		}
		port := string(resp.Kvs[0].Value)
		if other, taken := ports[port]; taken {
			t.Errorf("%q and %q share port %s", id, other, port)
		}
		ports[port] = id
	}
	for _, id := range strange {
		s.deprovision(id, singlePlan)
	}
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

// curl sends bodies as a form unless told otherwise.
func TestBodyIsReadWhateverItsType(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.contentType = "application/x-www-form-urlencoded"
	s.provision("i1", singlePlan)
	body := map[string]any{"service_id": broker.ServiceID, "plan_id": singlePlan}
	s.want(s.call("PUT", bindingPath("i1", "b1"), body), http.StatusCreated)
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

func TestBindingWaitsForTheDatabase(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	s.database.setDown(true)
	time.AfterFunc(300*time.Millisecond, func() { s.database.setDown(false) })
	body := map[string]any{"service_id": broker.ServiceID, "plan_id": singlePlan}
	s.want(s.call("PUT", bindingPath("i1", "b1"), body), http.StatusCreated)
	other := map[string]any{"service_id": broker.ServiceID, "plan_id": singlePlan, "app_guid": "app"}
	s.want(s.call("PUT", bindingPath("i1", "b1"), other), http.StatusConflict)
}
