//go:build system

package deploy_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/registrar/deploy"
	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

const (
	testHost   = "pgpatron-test-deploy"
	adminToken = "the-token-of-an-admin"
)

// site is three backends on this machine's Docker Engine, and the registry of
// the first.
type site struct {
	*testing.T
	docker   *client.Client
	etcd     *clientv3.Client
	registry registry.Client
	stops    []func()
}

func newSite(t *testing.T) *site {
	t.Helper()
	if _, _, err := registrar.CheckDocker(t.Context(), ""); err != nil {
		if os.Getenv("CI") == "" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	docker, err := registrar.DialDocker("")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, docker: docker}
	s.clean()
	t.Cleanup(s.clean)
	s.etcd = fixtures.Etcd(t)
	for i := range 3 {
		s.start(i)
	}
	return s
}

// start runs the i-th backend. The first serves the registry.
func (s *site) start(i int) {
	s.Helper()
	name := fmt.Sprintf("%s-%d", testHost, i)
	deployer, err := deploy.New(deploy.Config{
		Backend: netip.MustParseAddr("127.0.0.1"), ID: fmt.Sprintf("b%d", i), Hostname: name, Site: "site-1",
		ReplaceAfter: 2 * time.Second, Log: fixtures.Log(s),
	})
	if err != nil {
		s.Fatal(err)
	}
	r, err := registrar.New(registrar.Config{
		Backend: netip.MustParseAddr("127.0.0.1"), ID: fmt.Sprintf("b%d", i), Hostname: name, Site: "site-1",
		Zone: fmt.Sprintf("z%d", i), URL: "http://" + name, Etcd: []string{"http://127.0.0.1:2379"},
		SessionTTL: 2 * time.Second, Parts: []registrar.Part{deployer}, Log: fixtures.Log(s),
	}, s.etcd)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.Errorf("registrar %d: %v", i, err)
		}
	})
	s.Cleanup(stop)
	s.stops = append(s.stops[:min(i, len(s.stops))], append([]func(){stop}, s.stops[min(i+1, len(s.stops)):]...)...)
	if i > 0 {
		return
	}
	tokens, err := registry.ParseTokens("admin " + adminToken)
	if err != nil {
		s.Fatal(err)
	}
	server := httptest.NewServer(registry.NewAPI(registry.Config{Self: "b0", Tokens: func() registry.Tokens { return tokens }, Log: fixtures.Log(s)}, r.Engine(), deployer.Tables()).Handler())
	s.Cleanup(server.Close)
	s.registry = registry.Client{URL: server.URL, Token: state.Secret(adminToken)}
	if err := r.Ready(s.Context()); err != nil {
		s.Fatal(err)
	}
}

// ours lists the containers of these tests.
func (s *site) ours() []container.Summary {
	s.Helper()
	ctx := context.WithoutCancel(s.Context())
	all, err := s.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "pgpatron.instance"))})
	if err != nil {
		s.Fatal(err)
	}
	var ours []container.Summary
	for _, c := range all {
		if strings.HasPrefix(c.Labels["pgpatron.host"], testHost) {
			ours = append(ours, c)
		}
	}
	return ours
}

// images lists the images that these tests built.
func (s *site) images() []image.Summary {
	s.Helper()
	list, err := s.docker.ImageList(context.WithoutCancel(s.Context()), image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", "pgpatron.site=site-1"))})
	if err != nil {
		s.Fatal(err)
	}
	return list
}

func (s *site) clean() {
	ctx := context.WithoutCancel(s.Context())
	for _, c := range s.ours() {
		if err := s.docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true}); err != nil {
			s.Error(err)
		}
	}
	for _, i := range s.images() {
		_, _ = s.docker.ImageRemove(ctx, i.ID, image.RemoveOptions{Force: true, PruneChildren: true})
	}
}

// repository returns a folder with the source of a service, built from nothing.
func (s *site) repository() string {
	s.Helper()
	folder := s.TempDir()
	cmd := exec.CommandContext(s.Context(), "go", "build", "-o", filepath.Join(folder, "hello"), "./testdata/hello")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("building the service: %v\n%s", err, out)
	}
	s.write(folder, "Containerfile", "FROM scratch\nCOPY hello /hello\nENTRYPOINT [\"/hello\"]\n")
	return folder
}

func (s *site) write(folder, name, content string) {
	s.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
		s.Fatal(err)
	}
}

func (s *site) put(kind string, entity map[string]any) {
	s.Helper()
	if err := s.registry.Do(s.Context(), "PUT", "/registry-svc/"+kind, entity, nil); err != nil {
		s.Fatalf("PUT %s %v: %v", kind, entity["id"], err)
	}
}

func (s *site) deployment(id string) registry.Deployment {
	s.Helper()
	var answer struct{ Deployment registry.Deployment }
	if err := s.registry.Do(s.Context(), "GET", registry.Path("deployment", id, nil), nil, &answer); err != nil {
		s.Fatal(err)
	}
	return answer.Deployment
}

// instances returns the addresses of a service: one GET by slug.
func (s *site) instances(slug string) []registry.Instance {
	s.Helper()
	var answer struct{ Instances []registry.Instance }
	if err := s.registry.Do(s.Context(), "GET", registry.Path("instance", "", url.Values{"slug": {slug}}), nil, &answer); err != nil {
		s.Fatal(err)
	}
	return answer.Instances
}

func (s *site) awaitStatus(id string, want registry.DeploymentStatus, details string) {
	s.Helper()
	var last registry.Deployment
	defer func() {
		if s.Failed() {
			s.Logf("deployment %s is %s: %s", id, last.Status, last.Details)
		}
	}()
	s.await(fmt.Sprintf("deployment %s is %s: %s", id, want, details), func() bool {
		last = s.deployment(id)
		return last.Status == want && strings.Contains(last.Details, details)
	})
}

// await polls until cond holds.
func (s *site) await(what string, cond func() bool) {
	s.Helper()
	deadline := time.Now().Add(fixtures.Patience)
	for !cond() {
		if time.Now().After(deadline) {
			s.Fatalf("waited in vain until %s", what)
		}
		pause(s, 20*time.Millisecond)
	}
}

func pause(t testing.TB, d time.Duration) {
	select {
	case <-t.Context().Done():
	case <-time.After(d):
	}
}
