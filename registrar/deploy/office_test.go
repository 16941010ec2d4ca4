package deploy

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

// site is an etcd with hosts that only seem to run something: the test plays
// them, the offices are real.
type site struct {
	testing.TB
	etcd *clientv3.Client
}

func newSite(t *testing.T) *site {
	t.Helper()
	t.Parallel()
	return &site{TB: t, etcd: fixtures.Etcd(t)}
}

// office runs the office of one registrar. stop ends it.
func (s *site) office(name string) (d *Deployer, stop func()) {
	s.Helper()
	d, err := New(Config{
		Backend: netip.MustParseAddr("127.0.0.1"), ID: name, Hostname: name, Site: "site-1",
		ReplaceAfter: 300 * time.Millisecond, InstanceTTL: 2 * time.Second, Log: fixtures.Log(s),
	})
	if err != nil {
		s.Fatal(err)
	}
	schema := state.NewSchema()
	d.Register(schema)
	engine, err := state.NewEngine(state.EngineConfig{
		Client: s.etcd, Schema: schema, Reactor: d, Name: name, SessionTTL: 2 * time.Second, Log: fixtures.Log(s),
	})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := engine.Run(ctx); err != nil {
			s.Errorf("engine of %s: %v", name, err)
		}
	})
	wake := func() {
		d.fresh.Store(true)
		engine.Wake()
	}
	running.Go(func() { _ = d.office.run(ctx, wake) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		d.docker.Close()
	})
	s.Cleanup(stop)
	return d, stop
}

func (s *site) put(key string, v any) {
	s.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.etcd.Put(s.Context(), key, string(text)); err != nil {
		s.Fatal(err)
	}
}

func (s *site) delete(key string) {
	s.Helper()
	if _, err := s.etcd.Delete(s.Context(), key); err != nil {
		s.Fatal(err)
	}
}

// read reads a record; one that is not there is the zero one.
func read[T any](s *site, key string) (v T, there bool) {
	s.Helper()
	resp, err := s.etcd.Get(s.Context(), key)
	if err != nil {
		s.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return v, false
	}
	if err := json.Unmarshal(resp.Kvs[0].Value, &v); err != nil {
		s.Fatal(err)
	}
	return v, true
}

func (s *site) placements() []registry.Placement {
	s.Helper()
	r, _ := read[registry.DeploymentRecord](s, state.DeploymentKey("web"))
	return r.Placements
}

func (s *site) node(id string) {
	s.Helper()
	s.put(state.BackendKey(id), state.Backend{ID: id, DockerVersion: "20"})
}

// deploy asks for instances of an image.
func (s *site) deploy(image string, replicas int) {
	s.Helper()
	s.put(state.DefinitionKey("hello"), registry.Definition{ID: "hello", Image: &registry.Image{Name: image, InternalPorts: []int{80}}})
	r, _ := read[registry.DeploymentRecord](s, state.DeploymentKey("web"))
	r.Deployment = registry.Deployment{ID: "web", DefinitionID: "hello", Replicas: replicas, Strategy: registry.Strategy{Type: registry.RollingUpdate}}
	s.put(state.DeploymentKey("web"), r)
}

// nodes returns where the live placements are, each with what it runs.
func (s *site) nodes() map[string]string {
	nodes := map[string]string{}
	for _, p := range s.placements() {
		if !p.Removed {
			nodes[p.Node] = p.Run.Image
		}
	}
	return nodes
}

func (s *site) await(what string, cond func() bool) {
	s.Helper()
	for deadline := time.Now().Add(fixtures.Patience); !cond(); {
		if time.Now().After(deadline) {
			s.Fatalf("waited in vain until %s; placements are %+v", what, s.placements())
		}
		select {
		case <-s.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestOfficePlacesReplacesAndDeletes(t *testing.T) {
	s := newSite(t)
	for _, n := range []string{"n1", "n2", "n3"} {
		s.node(n)
	}
	_, stop := s.office("o1")
	s.deploy("v1", 2)
	s.await("two are placed", func() bool { return len(s.nodes()) == 2 })
	// Another takes the office over, and with it the silence of a node.
	s.office("o2")
	stop()
	var lost registry.Placement
	for _, p := range s.placements() {
		lost = p
	}
	s.delete(state.BackendKey(lost.Node))
	s.await("the lost one is placed elsewhere", func() bool { _, there := s.nodes()[lost.Node]; return len(s.nodes()) == 2 && !there })
	// The node's registrar has still to remove it.
	kept := false
	for _, p := range s.placements() {
		kept = kept || p.ID == lost.ID && p.Removed
	}
	if !kept {
		t.Errorf("placements are %+v, want the lost one marked", s.placements())
	}
	r, _ := read[registry.DeploymentRecord](s, state.DeploymentKey("web"))
	r.Deleted, r.Placements = true, nil
	s.put(state.DeploymentKey("web"), r)
	s.await("the record goes", func() bool { _, there := read[any](s, state.DeploymentKey("web")); return !there })
}

func TestOfficeFollowsTheDefinition(t *testing.T) {
	s := newSite(t)
	s.node("n1")
	s.node("n2")
	s.office("o1")
	s.deploy("v1", 1)
	s.await("it is placed", func() bool { return len(s.placements()) == 1 })
	first := s.placements()[0]
	s.put(state.RegisteredKey(first.ID), registry.InstanceRecord{Instance: registry.Instance{ID: first.ID, Status: registry.InstanceHealthy}, Node: first.Node})
	s.deploy("v2", 1)
	s.await("a second is there beside the first", func() bool { return len(s.nodes()) == 2 })
	second := s.placements()[1]
	if second.Run.Image != "v2" || s.placements()[0].Removed {
		t.Errorf("placements are %+v, want the first kept until the second is healthy", s.placements())
	}
	s.put(state.RegisteredKey(second.ID), registry.InstanceRecord{Instance: registry.Instance{ID: second.ID, Status: registry.InstanceHealthy}, Node: second.Node})
	s.await("the first is marked", func() bool { return len(s.nodes()) == 1 && s.nodes()[second.Node] == "v2" })
}

func TestGuestsAreProbedAndExpire(t *testing.T) {
	s := newSite(t)
	s.office("o1")
	addr := serve(t, func(net.Conn) {})
	guest := func(id string, in registry.Instance) {
		in.ID, in.Status, in.LastHeartbeat = id, registry.InstanceUnknown, time.Now().UTC()
		s.put(state.RegisteredKey(id), registry.InstanceRecord{Instance: in})
		if _, err := s.etcd.Put(t.Context(), state.InstanceURLKey(in.URL), id); err != nil {
			t.Fatal(err)
		}
	}
	status := func(id string) registry.InstanceStatus {
		r, _ := read[registry.InstanceRecord](s, state.RegisteredKey(id))
		return r.Status
	}
	alive, silent := at("tcp", addr, ""), at("tcp", "127.0.0.1:1", "")
	guest("alive", alive)
	guest("silent", silent)
	s.await("both are probed", func() bool {
		return status("alive") == registry.InstanceHealthy && status("silent") == registry.InstanceUnreachable
	})
	// One gives a heartbeat now and then, by a clock that is wrong by an hour.
	beat := 0
	s.await("the other expires", func() bool {
		beat++
		r, there := read[registry.InstanceRecord](s, state.RegisteredKey("alive"))
		if !there {
			t.Fatal("the one that gives heartbeats expired")
		}
		r.LastHeartbeat = time.Now().Add(-time.Hour).Add(time.Duration(beat) * time.Millisecond)
		s.put(state.RegisteredKey("alive"), r)
		_, there = read[registry.InstanceRecord](s, state.RegisteredKey("silent"))
		return !there
	})
	if resp, err := s.etcd.Get(t.Context(), state.InstanceURLKey(silent.URL)); err != nil || len(resp.Kvs) != 0 {
		t.Errorf("the URL of the expired one is %v %v, want none", resp.Kvs, err)
	}
}

func TestPlacedInstanceYieldsToWhoHasItsURL(t *testing.T) {
	s := newSite(t)
	d, _ := s.office("o1")
	if _, err := s.etcd.Put(t.Context(), state.InstanceURLKey("http://10.0.0.1:80"), "squatter"); err != nil {
		t.Fatal(err)
	}
	schema := state.NewSchema()
	registry.NewTables(schema, "image")
	engine, err := state.NewEngine(state.EngineConfig{Client: s.etcd, Schema: schema, Name: "writer", SessionTTL: 2 * time.Second, Log: fixtures.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = engine.Run(ctx) })
	defer running.Wait()
	defer cancel()
	in := at("http", "10.0.0.1:80", "")
	in.ID, in.Status = "web-1", registry.InstanceHealthy
	s.await("it is published", func() bool {
		return engine.Do(ctx, d.host.put(registry.InstanceRecord{Instance: in, Node: "n9"})) == nil
	})
	r, _ := read[registry.InstanceRecord](s, state.RegisteredKey("web-1"))
	if r.URL != "" || r.Status != registry.InstanceError || r.Details != "url 'http://10.0.0.1:80' belongs to instance 'squatter'" {
		t.Errorf("instance is %+v, want an error and no URL", r.Instance)
	}
}
