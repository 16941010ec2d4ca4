package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/sealed"
)

// sealing is a site's etcd with one sealed cluster and one sealed binding.
type sealing struct {
	t              *testing.T
	dir            string
	flags          []string
	first          sealed.Key
	clusters, keys string
}

func newSealing(t *testing.T) *sealing {
	t.Helper()
	s := &sealing{t: t, dir: t.TempDir(), first: sealed.NewKey([32]byte{7})}
	raw := [32]byte{7}
	line := []byte(hex.EncodeToString(raw[:]) + "\n")
	s.clusters, s.keys = filepath.Join(s.dir, "record.key"), filepath.Join(s.dir, "seal.key")
	for _, path := range []string{s.clusters, s.keys} {
		if err := os.WriteFile(path, line, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	endpoint := fixtures.EtcdServer(t).Endpoints()[0]
	s.flags = []string{"--etcd=" + endpoint, "--record-key-file=" + s.clusters, "--seal-key-file=" + s.keys}
	ring, client := sealed.NewRing(s.first), fixtures.EtcdClient(t, endpoint)
	ring.Wrap(client)
	key := state.BindingKey("i", "b")
	binding := state.Binding{BindingID: "b"}
	binding.Sealed, binding.SealedBy = ring.Seal("correct horse", key)
	cluster := state.Cluster{InstanceID: "i", AdminCredentials: state.Credentials{Username: "u", Password: "correct horse"}}
	for key, record := range map[string]any{key: binding, state.ClusterKey("i"): cluster} {
		value, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Put(t.Context(), key, string(value)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *sealing) do(args ...string) string {
	s.t.Helper()
	return do(s.t, append(append([]string{"seal"}, args...), s.flags...)...)
}

// The story of docs/operations.md: a new key opens, seals, everything is sealed
// anew, and the old key may go.
func TestSealKeysAreRotated(t *testing.T) {
	s := newSealing(t)
	old := s.first.ID()
	wantSays(t, s.do("status"), fmt.Sprintf("clusters  %s  1", old), fmt.Sprintf("bindings  %s  1", old))
	for _, kind := range []string{"clusters", "bindings"} {
		_, id, _ := strings.Cut(s.do("new-key", kind), ": key ")
		id, _, _ = strings.Cut(id, " ")
		wantSays(t, s.do("status"), fmt.Sprintf("%s  %s  1      seals", kind, old), fmt.Sprintf("%s  %s  0      opens nothing here: may go", kind, id))
		wantSays(t, s.do("use", kind, id), id)
		wantSays(t, s.do("status"), fmt.Sprintf("%s  %s  0      seals", kind, id), fmt.Sprintf("%s  %s  1      opens", kind, old))
		wantSays(t, s.do("rotate"), fmt.Sprintf("%s  %s  1      seals", kind, id), fmt.Sprintf("%s  %s  0      opens nothing here: may go", kind, old))
	}
	if got := s.do("rotate", "-o", "json"); strings.Contains(got, "horse") {
		t.Errorf("a secret is told: %s", got)
	}
}

func TestSealRefusesWhatItDoesNotKnow(t *testing.T) {
	s := newSealing(t)
	wantSays(t, fail(t, append([]string{"seal", "new-key", "doors"}, s.flags...)...), "doors: must be clusters or bindings")
	wantSays(t, fail(t, append([]string{"seal", "use", "bindings", "12345678"}, s.flags...)...), "seal_key_file: ", "has no key 12345678")
	wantSays(t, fail(t, "seal", "new-key", "clusters", "--seal-key-file="+s.keys), "record_key_file: is not set")
	wantSays(t, fail(t, append([]string{"seal", "status", "--key-command=[]"}, s.flags...)...), "key_command: want a list such as")
}
