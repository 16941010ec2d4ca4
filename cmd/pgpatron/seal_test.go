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

// sealing is a site's etcd with one sealed record of each kind.
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
	signer := state.Authority{ID: "s"}
	signer.Sealed, signer.SealedBy = ring.Seal("correct horse", state.AuthorityPlace("s"))
	for key, record := range map[string]any{
		key: binding, state.ClusterKey("i"): cluster,
		state.SiteCAKey():              state.SiteCA{Authorities: []state.Authority{signer}},
		state.CertificateKey("i", "n"): state.Certificate{PrivateKey: "correct horse"},
	} {
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

// wants looks for the row of each kind of records that a file's keys seal.
func (s *sealing) wants(said, file, key, row string) {
	s.t.Helper()
	kinds := map[string][]string{"clusters": {"clusters", "certificates"}, "bindings": {"bindings", "authority"}}
	for _, kind := range kinds[file] {
		wantSays(s.t, said, fmt.Sprintf("%-12s  %s  %s", kind, key, row))
	}
}

// The story of docs/operations.md: a new key opens, seals, everything is sealed
// anew, and the old key may go.
func TestSealKeysAreRotated(t *testing.T) {
	s := newSealing(t)
	old := s.first.ID()
	for _, kind := range []string{"clusters", "bindings"} {
		s.wants(s.do("status"), kind, old, "1")
		_, id, _ := strings.Cut(s.do("new-key", kind), ": key ")
		id, _, _ = strings.Cut(id, " ")
		said := s.do("status")
		s.wants(said, kind, old, "1      seals")
		s.wants(said, kind, id, "0      opens nothing here: may go")
		wantSays(t, s.do("use", kind, id), id)
		said = s.do("status")
		s.wants(said, kind, id, "0      seals")
		s.wants(said, kind, old, "1      opens")
		said = s.do("rotate")
		s.wants(said, kind, id, "1      seals")
		s.wants(said, kind, old, "0      opens nothing here: may go")
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
