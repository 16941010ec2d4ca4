//go:build system

package deploy_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/registrar/registry"
)

// web is a deployment of three instances that greet.
func web(replicas int, greeting string) map[string]any {
	return map[string]any{
		"id": "web", "definitionId": "hello", "replicas": replicas,
		"strategy":  map[string]any{"type": "RollingUpdate", "maxUnavailable": 1},
		"resources": map[string]any{"cpu": "500m", "memory": "64Mi"},
		"envars":    map[string]any{"GREETING": greeting},
	}
}

// TestServiceFromSourceToDelete is the registry's acceptance test: a service
// that is no database, from its source to its end.
func TestServiceFromSourceToDelete(t *testing.T) {
	s := newSite(t)
	s.put("definition", map[string]any{"id": "hello", "repository": map[string]any{"url": s.repository(), "ports": []int{8080}}})
	s.put("deployment", web(3, "first"))
	s.awaitStatus("web", registry.DeploymentOK, "3 of 3")
	s.awaitGreetings("first", 3)
	nodes := map[string]bool{}
	for _, in := range s.instances("web") {
		nodes[in.NodeURL] = true
		if in.Status != registry.InstanceHealthy || len(in.Ports) != 1 || in.Ports[0].Internal != 8080 || in.Ports[0].Host != in.Port {
			t.Errorf("instance = %+v, want a healthy one whose dynamic port is filled in", in)
		}
	}
	if len(nodes) != 3 {
		t.Errorf("instances are on nodes %v, want three", nodes)
	}
	s.checkConfined()

	killed := s.ours()[0]
	before := s.urls()
	if err := s.docker.ContainerKill(t.Context(), killed.ID, "KILL"); err != nil {
		t.Fatal(err)
	}
	s.await("the killed one is replaced", func() bool {
		_, err := s.docker.ContainerInspect(t.Context(), killed.ID)
		return err != nil && len(s.greetings()) == 3
	})
	s.awaitStatus("web", registry.DeploymentOK, "3 of 3")
	if after := s.urls(); after != before {
		t.Errorf("addresses are %s, were %s before one died: a restart keeps the address", after, before)
	}

	least := s.watchLeast(func() {
		s.put("deployment", web(3, "second"))
		s.awaitGreetings("second", 3)
		s.awaitStatus("web", registry.DeploymentOK, "3 of 3")
	})
	if least < 2 {
		t.Errorf("during the update only %d instances answered, want at least 2", least)
	}

	s.put("deployment", web(4, "second"))
	s.awaitStatus("web", registry.DeploymentError, "only 3 of 4 nodes available")
	s.put("deployment", web(2, "second"))
	s.awaitStatus("web", registry.DeploymentOK, "2 of 2")

	if err := s.registry.Do(t.Context(), "DELETE", "/deploy-svc/deployment/web", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.registry.Do(t.Context(), "DELETE", "/registry-svc/definition/hello", nil, nil); err != nil {
		t.Fatal(err)
	}
	s.awaitNothing()
}

// A registrar that ends leaves its instances running; the next one finds them.
// One that does not come back is replaced, and cleans up when it does.
func TestHostsComeAndGo(t *testing.T) {
	s := newSite(t)
	s.put("definition", map[string]any{"id": "hello", "repository": map[string]any{"url": s.repository(), "ports": []int{8080}}})
	s.put("deployment", web(2, "first"))
	s.awaitStatus("web", registry.DeploymentOK, "2 of 2")
	before := s.ids()
	for i := 1; i < 3; i++ {
		s.stops[i]()
		s.start(i)
	}
	s.awaitStatus("web", registry.DeploymentOK, "2 of 2")
	if after := s.ids(); after != before {
		t.Errorf("containers are %s, were %s before the registrars came back", after, before)
	}
	lost := 0
	for _, c := range s.ours() {
		for i := 1; i < 3; i++ {
			if c.Labels["pgpatron.runner"] == []string{"b0", "b1", "b2"}[i] {
				lost = i
			}
		}
	}
	s.stops[lost]()
	s.await("it is replaced elsewhere", func() bool { return len(s.ours()) == 3 && len(s.greetings()) == 2 })
	s.awaitStatus("web", registry.DeploymentOK, "2 of 2")
	s.start(lost)
	s.await("the one that came back has cleaned up", func() bool { return len(s.ours()) == 2 })
	s.awaitGreetings("first", 2)
}

func TestFailedBuildIsToldAndItsLogKept(t *testing.T) {
	s := newSite(t)
	folder := s.repository()
	s.write(folder, "Containerfile", "FROM scratch\nCOPY hello /hello\nCOPY missing /\n")
	s.put("definition", map[string]any{"id": "hello", "repository": map[string]any{"url": folder, "ports": []int{8080}}})
	s.put("deployment", web(1, "first"))
	s.awaitStatus("web", registry.DeploymentFailed, "build of definition 'hello' on node b")
	var answer struct{ Builds []registry.Build }
	if err := s.registry.Do(t.Context(), "GET", "/registry-svc/definition/hello/builds", nil, &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Builds) != 1 || answer.Builds[0].Status != registry.BuildFailed || !strings.Contains(answer.Builds[0].Log, "COPY missing") {
		t.Errorf("builds = %+v, want one that failed with its log", answer.Builds)
	}
	// Another definition is another try, at once.
	s.write(folder, "Dockerfile", "FROM scratch\nCOPY hello /hello\nENTRYPOINT [\"/hello\"]\n")
	s.put("definition", map[string]any{"id": "hello", "repository": map[string]any{"url": folder, "containerFile": "Dockerfile", "ports": []int{8080}}})
	s.awaitStatus("web", registry.DeploymentOK, "1 of 1")
}

// checkConfined looks at what Docker was told of the deployment's limits.
func (s *site) checkConfined() {
	s.Helper()
	for _, c := range s.ours() {
		info, err := s.docker.ContainerInspect(s.Context(), c.ID)
		if err != nil {
			s.Fatal(err)
		}
		if h := info.HostConfig; h.Memory != 64<<20 || h.NanoCPUs != 500_000_000 || h.CapDrop[0] != "ALL" {
			s.Errorf("container has memory %d, cpus %d, dropped %v", h.Memory, h.NanoCPUs, h.CapDrop)
		}
	}
}

// greetings returns what each of the service's addresses answers now.
func (s *site) greetings() []string {
	var all []string
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, in := range s.instances("web") {
		resp, err := client.Get(in.URL)
		if err != nil {
			continue
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode == http.StatusOK {
			all = append(all, string(text))
		}
	}
	return all
}

func (s *site) awaitGreetings(want string, n int) {
	s.Helper()
	s.await("all answer "+want, func() bool {
		all := s.greetings()
		for _, g := range all {
			if g != want {
				return false
			}
		}
		return len(all) == n
	})
}

// watchLeast returns how many instances answered at least while do ran.
func (s *site) watchLeast(do func()) int {
	least := 100
	ctx, cancel := context.WithCancel(s.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			least = min(least, len(s.greetings()))
		}
	})
	do()
	cancel()
	watching.Wait()
	return least
}

func (s *site) urls() string {
	var all []string
	for _, in := range s.instances("web") {
		all = append(all, in.URL)
	}
	return strings.Join(all, " ")
}

func (s *site) ids() string {
	var all []string
	for _, c := range s.ours() {
		all = append(all, c.ID)
	}
	return strings.Join(all, " ")
}

// awaitNothing waits until nothing of any service is left, in etcd and on
// Docker.
func (s *site) awaitNothing() {
	s.Helper()
	for _, prefix := range []string{"definitions", "deployments", "instances", "by-url", "builds"} {
		s.await("no key is left under "+prefix, func() bool {
			resp, err := s.etcd.Get(s.Context(), "/registry/"+prefix+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
			return err == nil && resp.Count == 0
		})
	}
	s.await("no container is left", func() bool { return len(s.ours()) == 0 })
	s.await("no image is left", func() bool { return len(s.images()) == 0 })
	if all, err := s.docker.ContainerList(s.Context(), container.ListOptions{All: true}); err == nil {
		for _, c := range all {
			if strings.HasPrefix(c.Names[0], "/svc-web-") {
				s.Errorf("container %s is left", c.Names[0])
			}
		}
	}
}
