package registrar_test

import (
	"fmt"
	"maps"
	"strconv"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// serve adds a container of a stranger that is published at 0.0.0.0:hostPort.
func (d *dockerd) serve(name, image string, internal, hostPort int, labels map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &fakeContainer{
		ID: "id-of-" + name, Name: name, Image: image, Labels: labels, Running: true, StartedAt: d.now(), Files: map[string]string{},
		Host:  map[string]any{"NetworkMode": "bridge"},
		Ports: map[string]any{fmt.Sprintf("%d/tcp", internal): []any{map[string]string{"HostIp": "0.0.0.0", "HostPort": strconv.Itoa(hostPort)}}},
	}
	d.containers[name] = c
	d.tell("start", c)
}

func asks(label string, more ...string) map[string]string {
	labels := map[string]string{"pgpatron.announce": label}
	for i := 0; i+1 < len(more); i += 2 {
		labels[more[i]] = more[i+1]
	}
	return labels
}

// strangers returns what is announced, but for records and nodes.
func (s *site) strangers() map[string]string {
	s.Helper()
	resp, err := s.client.Get(s.Context(), "/", clientv3.WithPrefix())
	if err != nil {
		s.Fatal(err)
	}
	found := map[string]string{}
	for _, kv := range resp.Kvs {
		switch string(kv.Value) {
		case "127.0.0.1:18080", "127.0.0.1:18081", "127.0.0.1:18082", "127.0.0.1:18083", "127.0.0.1:18084":
			found[string(kv.Key)] = string(kv.Value)
		}
	}
	return found
}

func (s *site) awaitStrangers(want map[string]string) {
	s.Helper()
	deadline := time.Now().Add(fixtures.Patience)
	for got := s.strangers(); !maps.Equal(got, want); got = s.strangers() {
		if time.Now().After(deadline) {
			s.Fatalf("announced: %v, want %v", got, want)
		}
		pause(s, 10*time.Millisecond)
	}
}

func stranger(name, container string, port int) string {
	return state.AnnouncementKey(name, testHost, container, port)
}

func TestAnyContainerIsAnnouncedByLabel(t *testing.T) {
	s := newSite(t)
	s.docker.serve("shop", "registry.local/acme/shop:3", 8080, 18080, asks("8080"))
	s.docker.serve("orders-db", "postgres:16", 5432, 18081, asks("5432,name=orders"))
	s.docker.serve("another", "x", 80, 18082, asks("80", "pgpatron.backend", "10.0.0.9"))
	s.docker.serve("thief", "x", 80, 18083, asks("80,name=service"))
	s.docker.serve("pretender", "x", 5432, 18083, asks("5432,name=postgresql-brokerpatroni"))
	s.docker.serve("mute", "x", 80, 18084, asks("81,name=mute"))
	stop := s.run()
	want := map[string]string{
		stranger("shop", "shop", 8080):        "127.0.0.1:18080",
		stranger("orders", "orders-db", 5432): "127.0.0.1:18081",
	}
	s.awaitStrangers(want)

	s.docker.serve("late", "x", 80, 18082, asks("80,name=late"))
	want[stranger("late", "late", 80)] = "127.0.0.1:18082"
	s.awaitStrangers(want)
	s.docker.Kill("shop")
	delete(want, stranger("shop", "shop", 8080))
	s.awaitStrangers(want)
	if c, _ := s.docker.get("shop"); c.Running {
		t.Error("a stranger's container was started")
	}

	s.docker.breakStreams()
	s.docker.Kill("late")
	delete(want, stranger("late", "late", 80))
	s.awaitStrangers(want)

	_, lease := s.value(stranger("orders", "orders-db", 5432))
	if _, err := s.client.Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	s.await("it is announced under another session", func() bool {
		_, now := s.value(stranger("orders", "orders-db", 5432))
		return now != 0 && now != lease
	})
	s.awaitStrangers(want)

	// The engine restarts: what lives on stays announced, what died does not, and
	// what somebody else wrote is put right.
	s.put(stranger("orders", "orders-db", 5432), "10.0.0.1:1")
	s.docker.serve("mortal", "x", 80, 18083, asks("80,name=mortal"))
	s.docker.Stop("mortal")
	s.docker.Start()
	s.awaitStrangers(want)

	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s.awaitStrangers(map[string]string{})
}

func TestAnnouncementsOfStrangersThroughAnOutage(t *testing.T) {
	s := newSite(t)
	link, through := s.behindLink()
	s.docker.serve("one", "x", 80, 18080, asks("80"))
	s.docker.serve("two", "x", 80, 18081, asks("80"))
	s.start(s.config(), through)
	want := map[string]string{stranger("x", "one", 80): "127.0.0.1:18080", stranger("x", "two", 80): "127.0.0.1:18081"}
	s.awaitStrangers(want)
	link.Cut()
	s.awaitStrangers(map[string]string{})
	s.docker.Kill("one")
	s.docker.serve("three", "x", 80, 18082, asks("80"))
	link.Heal()
	delete(want, stranger("x", "one", 80))
	want[stranger("x", "three", 80)] = "127.0.0.1:18082"
	s.awaitStrangers(want)
}

// A session that has ended for the registrar may live on in etcd, whose clock
// stood still: what was announced under it is withdrawn nevertheless.
func TestStrangersOfASessionThatLivesOn(t *testing.T) {
	s := newSite(t)
	link, through := s.behindLink()
	s.docker.serve("one", "x", 80, 18080, asks("80"))
	s.docker.serve("two", "x", 80, 18081, asks("80"))
	s.start(s.config(), through)
	one, two := stranger("x", "one", 80), stranger("x", "two", 80)
	s.awaitStrangers(map[string]string{one: "127.0.0.1:18080", two: "127.0.0.1:18081"})
	_, lease := s.value(two)
	alive, err := s.client.KeepAlive(t.Context(), lease)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range alive {
		}
	}()
	link.Cut()
	pause(s, 2*s.config().SessionTTL)
	s.docker.Kill("one")
	link.Heal()
	s.await("another session is there", func() bool {
		_, now := s.value(two)
		return now != 0 && now != lease
	})
	s.awaitStrangers(map[string]string{two: "127.0.0.1:18081"})
}
