package registrar_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

const newImage = "postgresql-brokerpatroni:0.2.0"

// hasImage makes the host have an image.
func (d *dockerd) hasImage(ref string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.images[ref] = true
}

// forget empties the history.
func (d *dockerd) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = nil
}

// awaitSpec waits until a node runs and was made from the spec.
func (s *site) awaitSpec(node string, spec state.NodeSpec) {
	s.Helper()
	s.await(node+" runs as "+spec.Digest(), func() bool {
		status := s.status(node)
		return status.Phase == state.PhaseRunning && status.Spec == spec.Digest()
	})
}

var madeAnew = []string{"stop cf-n1", "die cf-n1", "remove cf-n1", "create cf-n1", "start cf-n1"}

func TestContainerOfAnotherSpecIsMadeAnew(t *testing.T) {
	s := newSite(t)
	s.docker.hasImage(newImage)
	db := cluster("db1", "n1", "n2")
	s.record(db)
	s.run()
	s.awaitSpec("n1", db.NodeSpec)
	s.awaitSpec("n2", db.NodeSpec)
	at := s.announced("n1")
	s.docker.forget()
	db.Nodes[0].Spec = &state.NodeSpec{Image: newImage, MemoryMB: 768, MilliCPU: 1500, Restarts: 1}
	s.record(db)
	s.awaitSpec("n1", *db.Nodes[0].Spec)
	s.await("it is announced where it was", func() bool { return s.announced("n1") == at })
	if got := s.docker.history(); !slices.Equal(got, madeAnew) {
		t.Errorf("history = %q, want %q: n1 is made anew, n2 left alone", got, madeAnew)
	}
	c, _ := s.docker.get("cf-n1")
	if c.Image != newImage || c.Host["Memory"] != float64(768<<20) || c.Host["NanoCpus"] != 1.5e9 {
		t.Errorf("container has image %s, limits %v and %v", c.Image, c.Host["Memory"], c.Host["NanoCpus"])
	}
	if file := c.Files["/var/lib/postgresql/node.json"]; !strings.Contains(file, `"memory_mb":768`) {
		t.Errorf("node.json is of another spec: %s", file)
	}

	s.docker.forget()
	db.Restarts = 1 // n1 has a spec of its own: only n2 is restarted
	s.record(db)
	s.awaitSpec("n2", db.NodeSpec)
	if got := s.docker.history(); slices.Contains(got, "stop cf-n1") || !slices.Contains(got, "stop cf-n2") {
		t.Errorf("history = %q, want n2 alone made anew", got)
	}
}

// The stop is planned, and still a leader's death: whatever is left of its
// leadership ends with it, and nothing else does.
func TestLeaderThatIsMadeAnewIsFenced(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1")
	s.record(db)
	s.run()
	s.awaitSpec("n1", db.NodeSpec)
	s.lead("n1")
	db.Restarts++
	s.record(db)
	s.awaitSpec("n1", db.NodeSpec)
	if s.leader() != "" {
		t.Error("the leader key outlived its container")
	}
	s.lead("n9")
	db.Restarts++
	s.record(db)
	s.awaitSpec("n1", db.NodeSpec)
	if s.leader() != "n9" {
		t.Error("a replica that was made anew took the leader key with it")
	}
}

// A host that gets another address keeps its nodes by keeping its id: each is made
// anew, once, and announced on the ports that it had, where the host is reached now.
func TestHostWithAnotherAddressKeepsItsNodes(t *testing.T) {
	s := newSite(t)
	s.record(cluster("db1", "n1"))
	stop := s.run()
	s.await("n1 is announced", func() bool { return s.announced("n1") == s.addr(0) })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s.docker.forget()
	cfg := s.config()
	cfg.Backend, cfg.ID = netip.MustParseAddr("127.0.0.2"), testBackend
	s.start(cfg, s.client)
	s.await("n1 is announced at the new address", func() bool { return s.announced("n1") == "127.0.0.2:"+s.port(0) })
	s.awaitPhase("n1", state.PhaseRunning)
	if got := s.docker.history(); !slices.Equal(got, madeAnew) {
		t.Errorf("history = %q, want %q", got, madeAnew)
	}
	if b := s.backendOf(testBackend); b.Address != "127.0.0.2" {
		t.Errorf("the backend is told to be at %s", b.Address)
	}
}

func TestContainerRunsOnWithoutTheNewImage(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1")
	s.record(db)
	s.run()
	s.awaitSpec("n1", db.NodeSpec)
	s.docker.forget()
	old := db.NodeSpec
	db.Image = newImage
	s.record(db)
	s.awaitPhase("n1", state.PhaseFailed)
	if got := s.status("n1"); got.Spec != old.Digest() || !strings.Contains(got.Details, "image "+newImage+" is not on this host") {
		t.Errorf("status = %+v", got)
	}
	s.never("the old container is touched", func() bool { return len(s.docker.history()) > 0 })
	// It is looked after like any other: a death is fenced, and it starts again.
	s.lead("n1")
	s.docker.Kill("cf-n1")
	s.await("the leader key is gone", func() bool { return s.leader() == "" })
	s.await("the old container runs again", func() bool { c, _ := s.docker.get("cf-n1"); return c.Running })
	s.docker.hasImage(newImage)
	db.Restarts++ // an order, so that the image is looked for at once
	s.record(db)
	s.awaitSpec("n1", db.NodeSpec)
}

// Whatever step a registrar is killed after, the next one takes the next.
func TestMakingAnewSurvivesKills(t *testing.T) {
	for _, test := range []struct {
		after string
		want  []string
	}{
		{"stop cf-n1", append([]string{"stop cf-n1"}, madeAnew...)},
		{"die cf-n1", madeAnew},
		{"remove cf-n1", madeAnew},
		{"create cf-n1", madeAnew},
		{"start cf-n1", madeAnew},
	} {
		t.Run(test.after, func(t *testing.T) {
			s := newSite(t)
			db := cluster("db1", "n1")
			s.record(db)
			stop := s.run()
			s.awaitSpec("n1", db.NodeSpec)
			s.lead("n1")
			s.docker.forget()
			s.docker.fallSilentAfter(test.after)
			db.Restarts++
			s.record(db)
			s.await("the engine has fallen silent", s.docker.silent)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			s.docker.fallSilentAfter("")
			s.docker.Start()
			s.run()
			s.awaitSpec("n1", db.NodeSpec)
			if got := s.docker.history(); !slices.Equal(got, test.want) {
				t.Errorf("history = %q, want %q", got, test.want)
			}
			if s.leader() != "" {
				t.Error("the leader key outlived its container")
			}
		})
	}
}

func (d *dockerd) fallSilentAfter(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silentAfter = what
}

func (d *dockerd) silent() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.down
}

// A container from before there was a label for the digest is looked at itself.
func TestContainerThatDoesNotSayItsSpec(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1")
	s.record(db)
	stop := s.run()
	s.awaitSpec("n1", db.NodeSpec)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s.docker.unlabel("cf-n1", "pgpatron.spec")
	s.docker.forget()
	s.run()
	s.awaitSpec("n1", db.NodeSpec)
	s.never("a container is touched that is as it should be", func() bool { return len(s.docker.history()) > 0 })
}

func (d *dockerd) unlabel(name, label string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.containers[name].Labels, label)
}

// A leader that takes long to stop, as for a checkpoint, falls silent and keeps
// its key. Nobody kills it for that.
func TestLeaderThatStopsSlowlyIsNotKilled(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1", "n2")
	s.record(db)
	cfg := s.config()
	cfg.FenceAfter = time.Second
	s.start(cfg, s.client)
	s.awaitSpec("n1", db.NodeSpec)
	s.awaitSpec("n2", db.NodeSpec)
	s.member("n1", `{"role":"primary","state":"running"}`)
	s.member("n2", `{"role":"replica","state":"running","replication_state":"streaming"}`)
	s.lead("n1")
	api, _ := s.value(announcement("n1", 8008))
	var heard atomic.Int32
	patroni := s.answer(api, &heard)
	s.await("its Patroni is asked", func() bool { return heard.Load() > 1 })

	s.docker.forget()
	slow := make(chan struct{})
	stopped := sync.OnceFunc(func() { close(slow) })
	s.Cleanup(stopped)
	s.docker.slowStops(slow)
	db.Nodes[0].Spec = &state.NodeSpec{Image: testImage, Restarts: 1}
	s.record(db)
	s.await("it is being stopped", func() bool { return slices.Contains(s.docker.history(), "stop cf-n1") })
	patroni.Close()
	for range 15 {
		s.never("it is killed", func() bool { return len(s.docker.history()) > 1 })
	}
	if s.leader() != "n1" {
		t.Error("it lost its key before it was dead")
	}
	s.docker.slowStops(nil)
	stopped()
	s.lead("n2")
	s.member("n2", `{"role":"primary","state":"running"}`)
	s.awaitSpec("n1", *db.Nodes[0].Spec)
	if got := s.docker.history(); !slices.Equal(got, madeAnew) {
		t.Errorf("history = %q, want %q", got, madeAnew)
	}
}

// answer answers whatever is asked of Patroni at an address, and counts.
func (s *site) answer(addr string, heard *atomic.Int32) *httptest.Server {
	s.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		s.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		heard.Add(1)
		fmt.Fprint(w, `{"state":"running","role":"primary"}`)
	}))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	s.Cleanup(server.Close)
	return server
}

func (d *dockerd) slowStops(until chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slowStop = until
}
