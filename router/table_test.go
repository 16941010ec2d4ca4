package router_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// kept returns the instances that a table on disk has, with their leaders.
func kept(t *testing.T, path string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var table struct {
		Courses []struct{ Instance, Member string }
	}
	if err := json.Unmarshal(b, &table); err != nil {
		t.Fatalf("the table is not whole: %v", err)
	}
	members := map[string]string{}
	for _, c := range table.Courses {
		members[c.Instance] = c.Member
	}
	return members
}

// A router that is started without etcd routes by what it knew last, and says so.
// When etcd is back, what has changed meanwhile is followed.
func TestStartWithoutEtcd(t *testing.T) {
	t.Parallel()
	server := fixtures.EtcdServer(t)
	link := fixtures.NewLink(t, server.Endpoints()[0])
	through := fixtures.EtcdClient(t, link.Addr())
	s := &site{t: t, client: server.Client()}
	port, _, n2 := s.cluster("a")
	gone, _, _ := s.cluster("gone")
	path := filepath.Join(t.TempDir(), "table.json")
	first := startRouter(t, through, router.Config{TableFile: path, SessionTTL: time.Second})
	eventually(t, "the table is on disk", func() bool {
		members := kept(t, path)
		return members["a"] == "a-n1" && members["gone"] == "gone-n1"
	})
	if first.Health().Stale {
		t.Error("a router with etcd says that its table is stale")
	}
	link.Cut()
	first.stop()
	r := startRouter(t, through, router.Config{TableFile: path, SessionTTL: time.Second})
	if h := r.Health(); !h.OK || !h.Stale || h.Etcd.Reachable {
		t.Errorf("health without etcd is %+v, want ok and stale", h)
	}
	if got := r.metric(t, "pgpatron_router_stale"); got != 1 {
		t.Errorf("stale is told as %v, want 1", got)
	}
	before := open(t, port)
	if got := ask(t, before, "who"); got != "a-n1" {
		t.Errorf("without etcd the port leads to %s, want a-n1", got)
	}
	dial(t, gone)
	s.remove(state.AllocationKey("gone"))
	s.lead("a", n2)
	link.Heal()
	ended(t, before.Conn())
	if got := ask(t, open(t, port), "who"); got != "a-n2" {
		t.Errorf("with etcd the port leads to %s, want a-n2", got)
	}
	eventually(t, "the port of the instance that is gone is closed", func() bool { return !isOpen(gone) })
	if r.Health().Stale {
		t.Error("with etcd the table is still said to be stale")
	}
	eventually(t, "the table on disk is new", func() bool {
		members := kept(t, path)
		_, still := members["gone"]
		return members["a"] == "a-n2" && !still
	})
}

// A leader from disk that does not say that it leads is not believed: nobody has
// seen its key.
func TestLeaderFromDiskHasToSaySo(t *testing.T) {
	t.Parallel()
	link := fixtures.NewLink(t, "127.0.0.1:1")
	link.Cut()
	n := newNode(t, "n1")
	n.mode.Store(replica)
	port := freePort(t)
	path := filepath.Join(t.TempDir(), "table.json")
	table, err := json.Marshal(map[string]any{"version": 1, "courses": []map[string]any{
		{"instance": "a", "port": port, "member": "n1", "addr": n.addr, "api": n.rest.URL},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, table, 0o600); err != nil {
		t.Fatal(err)
	}
	r := startRouter(t, fixtures.EtcdClient(t, link.Addr()), router.Config{TableFile: path})
	conn := held(t, r, port, 1)
	eventually(t, "it is asked", func() bool { return n.asked.Load() > 3 })
	n.mode.Store(primary)
	got := <-conn
	closing(t, got)
	ask(t, got, "who")
}
