package registrar_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

// servePatroni answers PATCH /config at an address as Patroni does, with the
// configuration in etcd. A member that runs starts with parameter work_mem.
func (s *site) servePatroni(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.put(state.ConfigKey("db1"), `{"ttl":20,"postgresql":{"parameters":{"work_mem":"4MB"}}}`)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); r.Method != http.MethodPatch || r.URL.Path != "/config" || password != "secret-of-patroni" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		var patch, config map[string]any
		value, _ := s.value(state.ConfigKey("db1"))
		if json.Unmarshal([]byte(value), &config) != nil || json.NewDecoder(r.Body).Decode(&patch) != nil {
			http.Error(w, "no JSON", http.StatusBadRequest)
			return
		}
		merge(config, patch)
		s.putJSON(state.ConfigKey("db1"), config)
		_ = json.NewEncoder(w).Encode(config)
	}))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
}

// merge is how Patroni takes a patch in.
func merge(into, patch map[string]any) {
	for key, value := range patch {
		inner, isMap := value.(map[string]any)
		there, wasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			merge(there, inner)
		default:
			into[key] = value
		}
	}
}

func (s *site) readOnly() bool {
	s.Helper()
	value, _ := s.value(state.ConfigKey("db1"))
	return strings.Contains(value, `"default_transaction_read_only":"on"`)
}

// smallDisk mounts a disk of 10 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=10m"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("mounting a small disk, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, 0); err != nil {
			t.Error(err)
		}
	})
	return folder
}

func fill(t *testing.T, folder string, mb int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, "data"), make([]byte, mb<<20), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFullDiskMakesItsClustersReadOnly(t *testing.T) {
	s := newSite(t)
	s.docker.root = smallDisk(t)
	s.record(cluster("db1", "n1"))
	s.run()
	s.awaitPhase("n1", state.PhaseRunning)
	s.await("it is announced", func() bool { return s.announced("n1") != "" })
	rest, _ := s.value(announcement("n1", 8008))
	s.servePatroni(t, rest)
	s.lead("n1")
	if warning := s.status("n1").Warning; warning != "" {
		t.Errorf("warning = %q of an empty disk", warning)
	}

	fill(t, s.docker.root, 9)
	s.await("the node warns", func() bool { return s.status("n1").Warning == "disk of "+testHost+" is 90 % full" })
	s.never("it is read-only before it must", s.readOnly)
	if !s.backend().Healthy() {
		t.Error("the backend takes no nodes any more")
	}

	fill(t, s.docker.root, 10)
	s.await("the cluster is read-only", s.readOnly)
	status := s.status("n1")
	if status.Phase != state.PhaseRunning || status.Warning != "disk of "+testHost+" is 100 % full: read-only until there is room" {
		t.Errorf("status = %+v", status)
	}
	s.await("the backend takes no nodes any more", func() bool { return !s.backend().Healthy() })

	fill(t, s.docker.root, 2)
	s.await("the cluster takes writes", func() bool { return !s.readOnly() })
	s.await("the node does not warn any more", func() bool { return s.status("n1").Warning == "" })
	if value, _ := s.value(state.ConfigKey("db1")); value != `{"postgresql":{"parameters":{"work_mem":"4MB"}},"ttl":20}` {
		t.Errorf("configuration = %s", value)
	}
}

// A replica's disk counts as the leader's does, and what somebody else made
// read-only stays so.
func TestFullDiskOfAReplica(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1")
	db.Nodes = append(db.Nodes, state.Node{NodeID: "n2", BackendID: "b2"})
	s.record(db)
	s.run()
	s.await("it is announced", func() bool { return s.announced("n1") != "" })
	rest, _ := s.value(announcement("n1", 8008))
	s.servePatroni(t, rest)
	s.lead("n1")
	s.seen("n1")
	s.never("it is read-only for nothing", s.readOnly)
	s.putJSON(state.BackendKey("b2"), state.Backend{ID: "b2", Full: true})
	s.await("the cluster is read-only", s.readOnly)
	s.putJSON(state.BackendKey("b2"), state.Backend{ID: "b2"})
	s.await("the cluster takes writes", func() bool { return !s.readOnly() })

	s.put(state.ConfigKey("db1"), `{"postgresql":{"parameters":{"default_transaction_read_only":"on"}}}`)
	s.seen("n1")
	s.never("what the operator made read-only is not any more", func() bool { return !s.readOnly() })
}
