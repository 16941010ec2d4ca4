package registrar_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/state"
)

const (
	testImage   = "postgresql-brokerpatroni:0.1.0"
	testBackend = "127.0.0.1"
	testHost    = "pgpatron-test-registrar"
)

func TestMain(m *testing.M) { fixtures.RunWaiting(m, nil) }

// site is one site with its etcd, seen from the side of etcd.
type site struct {
	testing.TB
	id     string
	client *clientv3.Client
	docker *dockerd
	// first is the first host port: no two tests probe the same ones.
	first int
}

var nextFirst atomic.Int64

func newSite(t *testing.T) *site {
	t.Parallel()
	return &site{
		TB: t, id: "site-1", client: fixtures.Etcd(t), docker: newDockerd(t), first: 21000 + 20*int(nextFirst.Add(1)),
	}
}

// neighbour returns another site on the same Docker.
func (s *site) neighbour() *site {
	return &site{TB: s.TB, id: "site-2", client: fixtures.Etcd(s), docker: s.docker, first: s.first}
}

// port returns the n-th host port, addr where it is reached.
func (s *site) port(n int) string { return strconv.Itoa(s.first + n) }
func (s *site) addr(n int) string { return testBackend + ":" + s.port(n) }

func (s *site) config() registrar.Config { return s.configOn(s.docker.host()) }

func (s *site) configOn(docker string) registrar.Config {
	return registrar.Config{
		Backend: netip.MustParseAddr(testBackend), Hostname: testHost, Site: s.id,
		Ports: state.Ports{First: s.first, Last: s.first + 19}, Etcd: []string{"http://127.0.0.1:2379"},
		SessionTTL: 2 * time.Second, DockerHost: docker, Log: fixtures.Log(s),
	}
}

// start runs a registrar. stop ends it and returns Run's error.
func (s *site) start(cfg registrar.Config, client *clientv3.Client) (stop func() error) {
	s.Helper()
	r, err := registrar.New(cfg, client)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	s.Cleanup(func() {
		if err := stop(); err != nil {
			s.Errorf("Run: %v", err)
		}
	})
	return stop
}

// run runs a registrar for the test.
func (s *site) run() (stop func() error) {
	s.Helper()
	return s.start(s.config(), s.client)
}

// behindLink gives the site an etcd that a registrar reaches by a link, with the
// client that does.
func (s *site) behindLink() (*fixtures.Link, *clientv3.Client) {
	s.Helper()
	server := fixtures.EtcdServer(s)
	s.client = server.Client()
	link := fixtures.NewLink(s, server.Endpoints()[0])
	return link, fixtures.EtcdClient(s, link.Addr())
}

func cluster(id string, nodes ...string) state.Cluster {
	login := func(name string) state.Credentials {
		return state.Credentials{Username: name, Password: state.Secret("secret-of-" + name)}
	}
	c := state.Cluster{
		InstanceID: id, Version: state.RecordVersion, Database: "app",
		NodeSpec:         state.NodeSpec{Image: testImage, MemoryMB: 512, MilliCPU: 1000},
		AdminCredentials: login("admin"), SuperuserCredentials: login("postgres"), AppCredentials: login("app_owner"),
		ReplicationCredentials: login("replicator"), RESTCredentials: login("patroni"),
	}
	for _, n := range nodes {
		c.Nodes = append(c.Nodes, state.Node{NodeID: n, BackendID: testBackend})
	}
	return c
}

func removed(c state.Cluster) state.Cluster {
	nodes := append([]state.Node(nil), c.Nodes...)
	for i := range nodes {
		nodes[i].Removed = true
	}
	c.Nodes = nodes
	return c
}

func (s *site) record(c state.Cluster) { s.Helper(); s.putJSON(state.ClusterKey(c.InstanceID), c) }

func (s *site) putJSON(key string, v any) {
	s.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		s.Fatal(err)
	}
	s.put(key, string(b))
}

func (s *site) put(key, value string, opts ...clientv3.OpOption) {
	s.Helper()
	if _, err := s.client.Put(s.Context(), key, value, opts...); err != nil {
		s.Fatal(err)
	}
}

func (s *site) delete(key string) {
	s.Helper()
	if _, err := s.client.Delete(s.Context(), key); err != nil {
		s.Fatal(err)
	}
}

// value returns a key's value and lease, "" if there is no such key.
func (s *site) value(key string) (string, clientv3.LeaseID) {
	s.Helper()
	resp, err := s.client.Get(s.Context(), key)
	if err != nil {
		s.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return "", 0
	}
	return string(resp.Kvs[0].Value), clientv3.LeaseID(resp.Kvs[0].Lease)
}

func (s *site) status(node string) state.NodeStatus {
	s.Helper()
	value, _ := s.value(state.NodeStatusKey(node))
	var status state.NodeStatus
	if value != "" {
		if err := json.Unmarshal([]byte(value), &status); err != nil {
			s.Fatal(err)
		}
	}
	return status
}

func (s *site) backend() state.Backend { s.Helper(); return s.backendOf(testBackend) }

func (s *site) backendOf(id string) state.Backend {
	s.Helper()
	value, _ := s.value(state.BackendKey(id))
	var b state.Backend
	if value != "" {
		if err := json.Unmarshal([]byte(value), &b); err != nil {
			s.Fatal(err)
		}
	}
	return b
}

// announced returns what is announced of a node's PostgreSQL port.
func (s *site) announced(node string) string {
	s.Helper()
	value, _ := s.value(announcement(node, 5432))
	return value
}

// seen waits until the registrar has seen all that was written before: it
// repairs what was spoilt after that. node is one that runs.
func (s *site) seen(node string) {
	s.Helper()
	s.await("the node is announced", func() bool { return s.announced(node) != "" })
	s.delete(announcement(node, 5432))
	s.await("it is announced again", func() bool { return s.announced(node) != "" })
}

func announcement(node string, port int) string {
	return state.AnnouncementKey("postgresql-brokerpatroni", testHost, "cf-"+node, port)
}

// await polls until cond holds.
func (s *site) await(what string, cond func() bool) {
	s.Helper()
	deadline := time.Now().Add(fixtures.Patience)
	for !cond() {
		if time.Now().After(deadline) {
			s.Fatalf("waited in vain until %s", what)
		}
		pause(s, 5*time.Millisecond)
	}
}

// patiently polls as long as a real cluster, or very much, may take.
func (s *site) patiently(what string, cond func() bool) {
	s.Helper()
	for patience := time.Now().Add(fixtures.Patience); !cond(); pause(s, 20*time.Millisecond) {
		if time.Now().After(patience) {
			s.Fatalf("waited in vain until %s", what)
		}
	}
}

func (s *site) awaitPhase(node string, phase state.Phase) {
	s.Helper()
	s.await(node+" is "+string(phase), func() bool { return s.status(node).Phase == phase })
}

// never fails if cond holds at any moment of a while.
func (s *site) never(what string, cond func() bool) {
	s.Helper()
	for deadline := time.Now().Add(200 * time.Millisecond); time.Now().Before(deadline); {
		if cond() {
			s.Fatalf("%s, which must not be", what)
		}
		pause(s, 10*time.Millisecond)
	}
}

func pause(t testing.TB, d time.Duration) {
	select {
	case <-t.Context().Done():
	case <-time.After(d):
	}
}
