package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/state"
)

func TestBackendsOfDev(t *testing.T) {
	cfg := registrar.Config{
		Backend: netip.MustParseAddr("172.17.0.1"), Hostname: "h", Site: "s", Etcd: []string{"http://172.17.0.1:2379"},
		Ports: state.Ports{First: 20000, Last: 29999},
	}
	if got := backendOf(cfg, 0, 1).WithDefaults(); got.ID != "172.17.0.1" || got.Hostname != "h" || got.Ports != cfg.Ports {
		t.Errorf("one backend is %s on %s with ports %v: what it ran before is not found again", got.ID, got.Hostname, got.Ports)
	}
	seen := map[string]bool{}
	last := cfg.Ports.First - 1
	for i := range 3 {
		got := backendOf(cfg, i, 3).WithDefaults()
		if err := got.Validate(); err != nil {
			t.Error(err)
		}
		for _, name := range []string{got.ID, got.Zone, got.Hostname} {
			if seen[name] {
				t.Errorf("two backends have %s", name)
			}
			seen[name] = true
		}
		if got.Ports.First != last+1 || got.Ports.Last > cfg.Ports.Last {
			t.Errorf("backend %d has ports %v, the one before ended with %d", i, got.Ports, last)
		}
		last = got.Ports.Last
	}
	for _, name := range []string{"dev-1", "dev-2", "dev-3", "dev-zone-3", "h-3"} {
		if !seen[name] {
			t.Errorf("nothing is called %s", name)
		}
	}
}

// Whoever plays fewer backends than before is told whose nodes are left alone.
func TestBackendsThatAreNotPlayedAreTold(t *testing.T) {
	etcd := fixtures.Etcd(t)
	for _, id := range []string{"172.17.0.1", "dev-1", "dev-2"} {
		if _, err := etcd.Put(t.Context(), state.HostKey(id), "{}"); err != nil {
			t.Fatal(err)
		}
	}
	bridge := netip.MustParseAddr("172.17.0.1")
	for n, want := range map[int][]string{1: {"dev-1", "dev-2"}, 2: {"172.17.0.1"}} {
		var said bytes.Buffer
		d := &dev{backends: n, stderr: &said}
		if err := d.warnOfOthers(t.Context(), bridge, etcd); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(said.String(), "\n"); lines != len(want) {
			t.Errorf("%d backends: said %q", n, &said)
		}
		wantSays(t, said.String(), want...)
	}
}

func TestBackendsMustBeSome(t *testing.T) {
	for _, n := range []string{"0", "-1", "many"} {
		wantSays(t, fail(t, "dev", "--backends="+n), "backends: want a number from 1")
	}
}
