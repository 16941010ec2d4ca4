package router_test

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/embedded"
)

// TestEtcdLosesEverything: what is routed stays routed while etcd answers and is
// empty, by a router that runs and by one that is started then, and both say so.
// When the records are back they are followed.
func TestEtcdLosesEverything(t *testing.T) {
	t.Parallel()
	addr := fixtures.FreeAddrs(t, "127.0.0.1", 1)[0]
	etcd := startEmpty(t, addr)
	s := &site{t: t, client: etcd.Client()}
	s.put(state.SiteKey(), "here")
	port, _, n2 := s.cluster("a")
	path := filepath.Join(t.TempDir(), "table.json")
	client := fixtures.EtcdClient(t, addr)
	first := startRouter(t, client, router.Config{TableFile: path, SessionTTL: time.Second})
	eventually(t, "the table is on disk", func() bool { return kept(t, path)["a"] == "a-n1" })
	etcd.Close()

	etcd = startEmpty(t, addr)
	s.client = etcd.Client()
	eventually(t, "the router says that etcd is another", func() bool { return first.Health().Etcd.Replaced })
	if got := ask(t, open(t, port), "who"); got != "a-n1" || !first.Health().OK {
		t.Errorf("over an empty etcd the port leads to %s, health %+v", got, first.Health())
	}
	first.stop()
	second := startRouter(t, client, router.Config{TableFile: path, SessionTTL: time.Second})
	if h := second.Health(); !h.OK || !h.Stale || !h.Etcd.Replaced {
		t.Errorf("a router started over an empty etcd says %+v", h)
	}
	if got := ask(t, open(t, port), "who"); got != "a-n1" {
		t.Errorf("after a restart over an empty etcd the port leads to %s", got)
	}
	s.put(state.AllocationKey("a"), strconv.Itoa(port))
	s.announce("a", n2)
	s.lead("a", n2)
	s.put(state.EraKey(), "1")
	s.put(state.SiteKey(), "here")
	eventually(t, "the records are followed again", func() bool { return !second.Health().Etcd.Replaced })
	if got := ask(t, open(t, port), "who"); got != "a-n2" {
		t.Errorf("over the records that are back the port leads to %s, want a-n2", got)
	}
}

// startEmpty starts an etcd without any data.
func startEmpty(t *testing.T, addr string) *embedded.Etcd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	etcd, err := embedded.Start(ctx, embedded.Config{DataDir: t.TempDir(), Listen: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { etcd.Close() })
	return etcd
}
