//go:build system

package registrar_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/embedded"
)

const standInImage = "pgpatron-test-node:1"

// engine is the Docker Engine of this machine.
type engine struct {
	*client.Client
	gateway netip.Addr
}

// newEngine connects to Docker and removes what an earlier run has left.
func newEngine(t *testing.T) engine {
	t.Helper()
	_, gateway, err := registrar.CheckDocker(t.Context(), "")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	e := engine{c, gateway}
	e.clean(t)
	t.Cleanup(func() {
		e.clean(t)
		c.Close()
	})
	return e
}

func (e engine) clean(t *testing.T) {
	t.Helper()
	containers, volumes := e.ours(t)
	ctx := context.WithoutCancel(t.Context())
	for _, c := range containers {
		if err := e.ContainerRemove(ctx, c, container.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	}
	for _, v := range volumes {
		if err := e.VolumeRemove(ctx, v, true); err != nil {
			t.Error(err)
		}
	}
}

// ours lists the containers and volumes of these tests.
func (e engine) ours(t *testing.T) (containers, volumes []string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	wanted := filters.NewArgs(filters.Arg("label", "pgpatron.host="+testHost))
	cs, err := e.ContainerList(ctx, container.ListOptions{All: true, Filters: wanted})
	if err != nil {
		t.Fatal(err)
	}
	vs, err := e.VolumeList(ctx, volume.ListOptions{Filters: wanted})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cs {
		containers = append(containers, c.ID)
	}
	for _, v := range vs.Volumes {
		volumes = append(volumes, v.Name)
	}
	return containers, volumes
}

// standIn builds an image that starts at once and needs no registry.
func (e engine) standIn(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "node")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/node")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the stand-in: %v\n%s", err, out)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, file := range []struct {
		tar.Header
		content string
	}{
		{tar.Header{Name: "Dockerfile", Mode: 0o644}, "FROM scratch\nCOPY --chown=999:999 data /var/lib/postgresql\nCOPY node /node\nUSER 999:999\nENTRYPOINT [\"/node\"]\n"},
		{tar.Header{Name: "data/", Typeflag: tar.TypeDir, Mode: 0o700}, ""},
		{tar.Header{Name: "node", Mode: 0o755}, string(binary)},
	} {
		file.Size = int64(len(file.content))
		if err := w.WriteHeader(&file.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, file.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	built, err := e.ImageBuild(t.Context(), &b, build.ImageBuildOptions{Tags: []string{standInImage}, Remove: true})
	if err != nil {
		t.Fatal(err)
	}
	defer built.Body.Close()
	t.Cleanup(func() {
		e.clean(t)
		if _, err := e.ImageRemove(context.WithoutCancel(t.Context()), standInImage, image.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	})
	if out, err := io.ReadAll(built.Body); err != nil || bytes.Contains(out, []byte("errorDetail")) {
		t.Fatalf("building the stand-in: %v\n%s", err, out)
	}
	return standInImage
}

// site returns a site whose etcd containers reach, with a registrar.
func (e engine) site(t *testing.T) *site {
	t.Helper()
	s, cfg := e.config(t)
	s.start(cfg, s.client)
	return s
}

// config returns such a site without a registrar, and the configuration of one.
func (e engine) config(t *testing.T) (*site, registrar.Config) {
	t.Helper()
	// A port must be named: etcd's HTTP side, which Patroni speaks to, calls
	// back at the one it is told.
	free, err := net.Listen("tcp", e.gateway.String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	etcd, err := embedded.Start(t.Context(), embedded.Config{DataDir: t.TempDir(), Listen: []string{free.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { etcd.Close() })
	s := &site{TB: t, id: "system-test", client: etcd.Client()}
	cfg := s.configOn("")
	cfg.Backend, cfg.Etcd = e.gateway, []string{"http://" + etcd.Endpoints()[0]}
	cfg.Ports = state.Ports{First: 29800, Last: 29899}
	return s, cfg
}

// on places every node of a cluster on the backend, in containers of that image.
func (e engine) on(c state.Cluster, ref string) state.Cluster {
	c.Image = ref
	for i := range c.Nodes {
		c.Nodes[i].BackendID = e.gateway.String()
	}
	return c
}

func (e engine) kill(t *testing.T, name string) (began time.Time) {
	t.Helper()
	began = time.Now()
	go func() {
		if err := e.ContainerKill(context.WithoutCancel(t.Context()), name, "KILL"); err != nil {
			t.Error(err)
		}
	}()
	return began
}

// gone waits for the deletion of a key.
func (s *site) gone(key string) <-chan time.Time {
	deleted := make(chan time.Time, 1)
	watch := s.client.Watch(s.Context(), key)
	go func() {
		for resp := range watch {
			for _, e := range resp.Events {
				if e.Type == clientv3.EventTypeDelete {
					deleted <- time.Now()
					return
				}
			}
		}
	}()
	return deleted
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func TestContainersOnDocker(t *testing.T) {
	e := newEngine(t)
	standIn := e.standIn(t)
	s := e.site(t)
	db := e.on(cluster("db1", "n1", "n2"), standIn)
	s.record(db)
	s.awaitPhase("n1", state.PhaseRunning)
	s.awaitPhase("n2", state.PhaseRunning)
	s.await("it is announced", func() bool { return s.announced("n1") != "" })
	conn, err := net.Dial("tcp", s.announced("n1"))
	if err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(conn)
	conn.Close()
	if !regexp.MustCompile(`^uid 999 reads -r--------, \d{3,} bytes\n$`).Match(said) {
		t.Errorf("the container says %q", said)
	}
	e.checkLimits(t)

	var took []time.Duration
	for range 5 {
		s.lead("n1")
		deleted := s.gone(state.LeaderKey("db1"))
		pause(t, 100*time.Millisecond)
		began := e.kill(t, "cf-n1")
		took = append(took, (<-deleted).Sub(began))
		s.await("it is not announced", func() bool { return s.announced("n1") == "" })
		s.await("it is announced again", func() bool { return s.announced("n1") != "" })
		pause(t, time.Second)
	}
	t.Logf("docker kill to deleted leader key: median %v of %v", median(took), took)
	if m := median(took); m > 500*time.Millisecond {
		t.Errorf("fencing took %v", m)
	}

	began := time.Now()
	s.record(removed(db))
	s.awaitPhase("n1", state.PhaseRemoved)
	s.awaitPhase("n2", state.PhaseRemoved)
	t.Logf("both removed in %v", time.Since(began))
	if containers, volumes := e.ours(t); len(containers)+len(volumes) > 0 {
		t.Errorf("left: containers %q, volumes %q", containers, volumes)
	}
}

// checkLimits looks at what a container may, and at what its inspection tells.
func (e engine) checkLimits(t *testing.T) {
	t.Helper()
	info, raw, err := e.ContainerInspectWithRaw(t.Context(), "cf-n1", false)
	if err != nil {
		t.Fatal(err)
	}
	h := info.HostConfig
	if h.Memory != 512<<20 || h.NanoCPUs != 1e9 || h.ShmSize != 256<<20 || *h.PidsLimit == 0 || !slices.Contains(h.CapDrop, "ALL") ||
		!h.ReadonlyRootfs || len(h.Tmpfs) == 0 || !slices.Contains(h.SecurityOpt, "no-new-privileges") || !h.RestartPolicy.IsNone() || *info.Config.StopTimeout < 30 || h.LogConfig.Config["max-size"] == "" {
		t.Errorf("container is made with %+v", h)
	}
	if bytes.Contains(raw, []byte("secret-of")) {
		t.Error("docker inspect shows a secret")
	}
}

// A real cluster loses its leader.
func TestClusterOnDocker(t *testing.T) {
	e := newEngine(t)
	nodeImage := patroni.ImageName + ":" + patroni.ImageVersion()
	if _, err := e.ImageInspect(t.Context(), nodeImage); err != nil {
		t.Skipf("%v: build it with make image", err)
	}
	s := e.site(t)
	db := e.on(cluster("db1", "n1", "n2"), nodeImage)
	began := time.Now()
	s.record(db)
	s.awaitPhase("n1", state.PhaseRunning)
	s.awaitPhase("n2", state.PhaseRunning)
	t.Logf("both containers run after %v", time.Since(began))
	other := func(node string) string { return map[string]string{"n1": "n2", "n2": "n1"}[node] }
	follows := func() bool {
		leader := s.leader()
		member, _ := s.value(state.MemberKey("db1", other(leader)))
		return leader != "" && streaming.MatchString(member)
	}
	patience := time.Now().Add(time.Minute)
	for !follows() {
		if time.Now().After(patience) {
			t.Fatal("no replica follows")
		}
		pause(t, 20*time.Millisecond)
	}
	t.Logf("a replica follows after %v", time.Since(began))
	var fenced, led, back []time.Duration
	for range 5 {
		old := s.leader()
		deleted := s.gone(state.LeaderKey("db1"))
		pause(t, 100*time.Millisecond)
		began := e.kill(t, "cf-"+old)
		fenced = append(fenced, (<-deleted).Sub(began))
		s.await("another leads", func() bool { return s.leader() == other(old) })
		led = append(led, time.Since(began))
		for !follows() {
			pause(t, 20*time.Millisecond)
		}
		back = append(back, time.Since(began))
		pause(t, 3*time.Second)
	}
	t.Logf("from docker kill, medians of %d: key deleted %v, another leads %v, the old one follows %v", len(fenced), median(fenced), median(led), median(back))
	t.Log(fmt.Sprint(fenced, led, back))
	began = time.Now()
	s.record(removed(db))
	s.awaitPhase("n1", state.PhaseRemoved)
	s.awaitPhase("n2", state.PhaseRemoved)
	t.Logf("both removed in %v", time.Since(began))
}
