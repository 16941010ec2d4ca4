package patroni_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// testNode is a valid node.json. Its passwords have what YAML, pgpass and SQL
// might trip over.
func testNode() patroni.NodeConfig {
	login := func(name, password string) state.Credentials {
		return state.Credentials{Username: name, Password: state.Secret(password)}
	}
	return patroni.NodeConfig{
		InstanceID:  "8f3f1c9e-27a1-4c3c-9ad0-9b52b3a3f0aa",
		NodeID:      "0d7a4b5e-5a06-4a8e-b7a4-3c1f0b9b1d11",
		Image:       patroni.ImageName,
		Hostname:    "host-1",
		Container:   "cf-0d7a4b5e-5a06-4a8e-b7a4-3c1f0b9b1d11",
		Etcd:        []string{"http://172.17.0.1:2379", "http://172.17.0.2:2379"},
		Superuser:   login("postgres", `super"quoted\secret`),
		Replication: login("replicator", "1e100"),
		Admin:       login("admin", "admin'secret"),
		REST:        login("patroni", "rest:#secret"),
		Owner:       "app_owner",
		Database:    "app",
		Synchronous: true,
		MemoryMB:    512,
	}
}

func testAddresses() patroni.Addresses {
	return patroni.Addresses{
		PostgreSQL: netip.MustParseAddrPort("172.17.0.1:20000"),
		REST:       netip.MustParseAddrPort("172.17.0.1:20001"),
	}
}

// golden compares got with a file in testdata, or rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	// The flag is the fixtures'.
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); -update rewrites it:\n%s", path, diff)
	}
}
