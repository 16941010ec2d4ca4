package broker_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/broker"
	"github.com/pgpatron/pgpatron/broker/postgres"
	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/sealed"
)

const (
	singlePlan  = "f61a3b1c-5b7e-4e0e-9d0c-0b8f3f1f6c01"
	clusterPlan = "1545e30e-6dc3-11e5-826a-6c4008a663f0"
	haPlan      = "a2c1d9d4-7a52-4f5b-8f5e-6f0f0d6a9b03"
)

// database is a Database in memory: it keeps the logins of each instance.
type database struct {
	mu     sync.Mutex
	logins map[string]map[string]postgres.Login
	down   bool
	proved int
	// alone says that no synchronous cluster has a standby; admin is the only password
	// that is taken, if there is one.
	alone bool
	admin state.Secret
	// extensions are each instance's; nodes know their settings.
	extensions map[string][]string
	// inUse is an extension that can not be dropped.
	inUse string
	nodes *fixtures.Nodes
	// fenced are instances into which nobody is let, lsn is where a fence is.
	fenced map[string]bool
	lsn    int64
}

func (d *database) ProveWrite(_ context.Context, c state.Cluster) error {
	alone := false
	err := d.with(func() {
		if alone = d.alone && c.Synchronous; !alone {
			d.proved++
		}
	})
	if alone {
		return errors.New("there is no standby")
	}
	return err
}

func (d *database) CreateLogin(_ context.Context, c state.Cluster, login postgres.Login) error {
	wrong := false
	d.set(func() { wrong = d.admin != "" && d.admin != c.AdminCredentials.Password })
	if wrong {
		return errors.New("password authentication failed")
	}
	return d.with(func() {
		if d.logins[c.InstanceID] == nil {
			d.logins[c.InstanceID] = map[string]postgres.Login{}
		}
		d.logins[c.InstanceID][login.Username] = login
	})
}

func (d *database) DropLogin(_ context.Context, c state.Cluster, role string) error {
	return d.with(func() { delete(d.logins[c.InstanceID], role) })
}

// forget loses everything of an instance, as new nodes have lost it.
func (d *database) forget(instance string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.logins, instance)
}

func (d *database) with(do func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return fmt.Errorf("database is down")
	}
	do()
	return nil
}

func (d *database) setDown(down bool) { d.set(func() { d.down = down }) }

func (d *database) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *database) login(instance, role string) (postgres.Login, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	login, ok := d.logins[instance][role]
	return login, ok
}

// count returns how many logins an instance has.
func (d *database) count(instance string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.logins[instance])
}

// site is a broker under test with all that is around it.
type site struct {
	t        testing.TB
	client   *clientv3.Client
	nodes    *fixtures.Nodes
	database *database
	config   broker.Config
	broker   *broker.Broker
	url      string
	stop     func()
	// federation is where the site's federation process listens, if it has one.
	federation string
	// through, if set, is how brokers reach etcd.
	through *clientv3.Client
	// contentType and headers are sent with every request.
	contentType string
	headers     map[string]string
}

// newSite starts a broker on an etcd of its own with these backends.
func newSite(t testing.TB, backends ...string) *site {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		t.Parallel()
	}
	s := prepareSite(t, backends...)
	s.start()
	if len(backends) > 0 {
		s.awaitBackend()
	}
	return s
}

// prepareSite is a site whose broker is still to be started.
func prepareSite(t testing.TB, backends ...string) *site {
	t.Helper()
	s := &site{t: t, client: fixtures.Etcd(t), database: &database{logins: map[string]map[string]postgres.Login{}}}
	s.nodes = fixtures.RunNodes(t, s.client, backends...)
	s.database.nodes = s.nodes
	s.config = broker.Config{
		Listen: "127.0.0.1:0", Username: "cf", Password: "secret",
		AdminUsername: "ops", AdminPassword: "of the operators", RouterHost: "db.example",
		Ports: state.Ports{First: 30000, Last: 30004}, Image: "image:1", Database: s.database,
		BindTimeout: fixtures.Patience, Seal: sealed.NewRing(sealed.NewKey([32]byte{1})), Log: fixtures.Log(t),
	}
	return s
}

// start runs a broker until stop or the test's end.
func (s *site) start() {
	s.t.Helper()
	s.broker, s.url, s.stop = s.run()
	s.t.Cleanup(func() { s.stop() })
}

// awaitBackend waits until the broker sees the backends, which register
// together.
func (s *site) awaitBackend() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), fixtures.Patience)
	defer cancel()
	if err := s.broker.AwaitBackend(ctx); err != nil {
		s.t.Fatal(err)
	}
}

// run runs another broker until stop and waits until it can answer.
func (s *site) run() (b *broker.Broker, base string, stop func()) {
	s.t.Helper()
	b, stop = s.launch()
	ready, done := context.WithTimeout(s.t.Context(), fixtures.Patience)
	defer done()
	addr, err := b.Ready(ready)
	if err != nil {
		s.t.Fatal(err)
	}
	return b, "http://" + addr.String(), stop
}

// launch runs another broker until stop.
func (s *site) launch() (b *broker.Broker, stop func()) {
	s.t.Helper()
	b, err := broker.New(s.config, cmp.Or(s.through, s.client))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("broker: %v", err)
		}
	})
	return b, stop
}

func (s *site) poll(what string, cond func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(fixtures.Patience)
	for !cond() {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain until %s", what)
		}
		select {
		case <-s.t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// reply is an answer of the API.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) field(t testing.TB, name string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(r.body), &fields); err != nil {
		t.Fatalf("answer is not JSON: %v: %s", err, r.body)
	}
	if fields[name] == nil {
		return ""
	}
	return fmt.Sprint(fields[name])
}

// call sends a request as the platform would.
func (s *site) call(method, path string, body any) reply {
	s.t.Helper()
	return s.callAt(s.url, method, path, body)
}

func (s *site) callAt(base, method, path string, body any) reply {
	s.t.Helper()
	var payload io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		payload = strings.NewReader(body)
	default:
		b, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		payload = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, base+path, payload)
	if err != nil {
		s.t.Fatal(err)
	}
	r.SetBasicAuth("cf", "secret")
	r.Header.Set("X-Broker-API-Version", "2.17")
	r.Header.Set("Content-Type", s.contentType)
	for name, value := range s.headers {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{status: resp.StatusCode, header: resp.Header, body: string(b)}
}

func order(plan string) map[string]any {
	return map[string]any{"service_id": broker.ServiceID, "plan_id": plan, "organization_guid": "org", "space_guid": "space"}
}

func instancePath(id string) string { return "/v2/service_instances/" + url.PathEscape(id) }

func bindingPath(id, binding string) string {
	return instancePath(id) + "/service_bindings/" + url.PathEscape(binding)
}

// ids are the query parameters that deletions carry.
func ids(plan string) string {
	return "?accepts_incomplete=true&service_id=" + broker.ServiceID + "&plan_id=" + plan
}

// want checks an answer's status.
func (s *site) want(r reply, status int) reply {
	s.t.Helper()
	if r.status != status {
		s.t.Fatalf("got %d %s, want %d", r.status, r.body, status)
	}
	return r
}

// provision makes an instance and waits until it is usable.
func (s *site) provision(id, plan string) {
	s.t.Helper()
	r := s.want(s.call("PUT", instancePath(id)+"?accepts_incomplete=true", order(plan)), http.StatusAccepted)
	s.await(id, r.field(s.t, "operation"), "succeeded")
}

func (s *site) await(id, operation, state string) reply {
	s.t.Helper()
	var last reply
	s.poll("operation "+operation+" is "+state, func() bool {
		last = s.call("GET", instancePath(id)+"/last_operation?operation="+operation, nil)
		return last.status == http.StatusOK && last.field(s.t, "state") == state
	})
	return last
}

func (s *site) deprovision(id, plan string) {
	s.t.Helper()
	r := s.want(s.call("DELETE", instancePath(id)+ids(plan), nil), http.StatusAccepted)
	operation := r.field(s.t, "operation")
	s.poll("the instance is gone", func() bool {
		return s.call("GET", instancePath(id)+"/last_operation?operation="+operation, nil).status == http.StatusGone
	})
}

// keys returns what etcd holds of instances.
func (s *site) keys() []string {
	s.t.Helper()
	var keys []string
	for _, prefix := range []string{"/service", "/routing/"} {
		resp, err := s.client.Get(s.t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			s.t.Fatal(err)
		}
		for _, kv := range resp.Kvs {
			if key := string(kv.Key); key != state.FormatKey() {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// begin sends a request that is answered with an operation, and returns its id.
func (s *site) begin(method, path string, body any) string {
	s.t.Helper()
	operation := s.want(s.call(method, path, body), http.StatusAccepted).field(s.t, "operation")
	if operation == "" {
		s.t.Fatalf("%s %s is answered without an operation", method, path)
	}
	return operation
}

// async is the path of a request about an instance from a platform that polls.
func async(id string) string { return instancePath(id) + "?accepts_incomplete=true" }

// pollPath is where an operation is asked for.
func pollPath(id, operation string) string {
	return instancePath(id) + "/last_operation?operation=" + url.QueryEscape(operation)
}

// binding is an answer about a binding, as far as tests look at it.
type binding struct {
	Credentials struct {
		URI, JDBCURL, Host, Hostname, Name, Database, Username, Password string
		ReadURI                                                          string `json:"read_uri"`
		CA                                                               string `json:"ca_certificate"`
		Hosts                                                            []string
		Port                                                             int
	}
	Endpoints []struct {
		Host, Protocol string
		Ports          []string
	}
	Metadata *struct {
		ExpiresAt   string `json:"expires_at"`
		RenewBefore string `json:"renew_before"`
	}
	Parameters map[string]any
}

// bound reads an answer about a binding.
func (r reply) bound(t testing.TB) binding {
	t.Helper()
	var b binding
	if err := json.Unmarshal([]byte(r.body), &b); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	return b
}

// bindOrder is the body of a request to bind, with these fields beside the ids.
func bindOrder(plan string, fields map[string]any) map[string]any {
	body := map[string]any{"service_id": broker.ServiceID, "plan_id": plan}
	maps.Copy(body, fields)
	return body
}

// edit changes a record in etcd behind the broker's back.
func edit[T any](s *site, key string, change func(*T)) {
	s.t.Helper()
	resp, err := s.client.Get(s.t.Context(), key)
	if err != nil || len(resp.Kvs) != 1 {
		s.t.Fatalf("%s: %v, %v", key, resp, err)
	}
	var record T
	if err := json.Unmarshal(resp.Kvs[0].Value, &record); err != nil {
		s.t.Fatal(err)
	}
	change(&record)
	raw, err := json.Marshal(record)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.client.Put(s.t.Context(), key, string(raw)); err != nil {
		s.t.Fatal(err)
	}
}
