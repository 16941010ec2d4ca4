//go:build system

package release_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/state/embedded"
)

// idPrefix begins the name of each instance: by it ci/clean knows the containers.
const idPrefix = "pgpatron-test-bosh-"

// site is what a manifest rendered to, and where that runs.
type site struct {
	*testing.T
	dir string
}

// script runs a script of a job, or wants it to go well.
func (s site) script(instance, job, name string) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.job(instance, job)+"/bin/"+name).CombinedOutput()
	if err != nil {
		s.Fatalf("%s of %s: %v\n%s", name, job, err, out)
	}
	return string(out)
}

func (s site) job(instance, job string) string {
	return filepath.Join(s.dir, idPrefix+instance, "var/vcap/jobs", job)
}

// start runs a job as bpm does, until the test ends.
func (s site) start(instance, job string) {
	s.Helper()
	var bpm struct {
		Processes []struct {
			Executable string
			Args       []string
		}
	}
	b, err := os.ReadFile(s.job(instance, job) + "/config/bpm.yml")
	if err == nil {
		err = yaml.Unmarshal(b, &bpm)
	}
	if err != nil {
		s.Fatal(err)
	}
	s.script(instance, job, "pre-start")
	cmd := exec.Command(bpm.Processes[0].Executable, bpm.Processes[0].Args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			s.Errorf("%s has ended by itself: %v", job, err)
		}
		err := cmd.Wait()
		if s.Failed() || err != nil {
			s.Errorf("%s: %v; it said:\n%s", job, err, &said)
		}
		if strings.Contains(said.String(), "permission denied") {
			s.Errorf("the user of %s lacks a right of etcd:\n%s", job, &said)
		}
	})
}

// freeRange returns n ports in a row that nobody listens at now.
func freeRange(t *testing.T, host string, n int) int {
	t.Helper()
	for first := 28000; first < 29900; first += n {
		taken := false
		for port := first; port < first+n; port++ {
			l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
			if err != nil {
				taken = true
				break
			}
			l.Close()
		}
		if !taken {
			return first
		}
	}
	t.Fatal("no free ports")
	return 0
}

// shrink makes of the manifest one that one machine can be: one instance of each,
// and etcd where the test has it.
func shrink(t *testing.T, cluster *fixtures.EtcdCluster, host string) string {
	t.Helper()
	b, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	first := freeRange(t, host, 40)
	extra := map[string]map[string]any{
		"pgpatron-broker": {"port": first, "share_backends": true, "ports": fmt.Sprintf("%d-%d", first+10, first+14), "image": patroni.ImageName + ":" + patroni.ImageVersion()},
		"pgpatron-router": {"metrics_port": first + 1, "ports": fmt.Sprintf("%d-%d", first+10, first+14)},
		"pgpatron-registrar": {
			"port": first + 2, "host_ports": fmt.Sprintf("%d-%d", first+20, first+39), "build_image": false,
			"docker_host": "unix:///var/run/docker.sock", "docker_client": "docker",
		},
	}
	for _, g := range doc["instance_groups"].([]any) {
		group := g.(map[string]any)
		group["instances"] = 1
		for _, j := range group["jobs"].([]any) {
			job := j.(map[string]any)
			properties, _ := job["properties"].(map[string]any)
			for key, value := range extra[job["name"].(string)] {
				properties[key] = value
			}
			if etcd, ok := properties["etcd"].(map[string]any); ok && job["release"] == "pgpatron" {
				etcd["endpoints"] = cluster.Endpoints()
			}
		}
	}
	out, err := yaml.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "manifest.yml")
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// variablesOf gives the certificates to the manifest that etcd was started with.
func variablesOf(t *testing.T, files *embedded.TLS, host string) string {
	t.Helper()
	pem := map[string]string{"ca": "", "certificate": "", "private_key": ""}
	for name, path := range map[string]string{"ca": files.CA, "certificate": files.Cert, "private_key": files.Key} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pem[name] = string(b)
	}
	out, err := yaml.Marshal(map[string]any{"router_host": host, "etcd_client": pem, "etcd_node": pem})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// What the release starts is a site: on an etcd of three members, with TLS and a
// user for each process, its smoke test passes.
func TestDeployed(t *testing.T) {
	_, bridge, err := registrar.CheckDocker(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	host := bridge.String()
	files := fixtures.PKI(t, netip.MustParseAddr(host))
	cluster := fixtures.NewEtcdClusterTLS(t, host, files)
	t.Setenv("RENDER_IP", host)
	t.Setenv("RENDER_ID", idPrefix)
	dir, refusal := render(t, shrink(t, cluster, host), variablesOf(t, files, host))
	if refusal != "" {
		t.Fatal(refusal)
	}
	s := site{t, dir}
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	for _, instance := range []string{"etcd", "router", "backend", "broker", "smoke-tests"} {
		packages := filepath.Join(dir, idPrefix+instance+"-0", "var/vcap/packages/pgpatron")
		if err := os.MkdirAll(packages, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Dir(bin), packages+"/bin"); err != nil {
			t.Fatal(err)
		}
	}
	// bpm makes these, for it is asked for an ephemeral disk.
	for instance, job := range map[string]string{"router-0": "pgpatron-router", "broker-0": "pgpatron-broker"} {
		if err := os.MkdirAll(filepath.Join(dir, idPrefix+instance, "var/vcap/data", job), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.script("etcd-0", "etcd-users", "post-start")
	s.start("router-0", "pgpatron-router")
	s.start("broker-0", "pgpatron-broker")
	s.start("backend-0", "pgpatron-registrar")
	s.script("broker-0", "pgpatron-broker", "post-deploy")
	s.script("backend-0", "pgpatron-registrar", "post-start")
	s.broker()
	t.Log("\n" + s.script("smoke-tests-0", "smoke-tests", "run"))
}

// broker sees to it that the errand asks the broker where it is: names like
// broker-0.bosh are the director's to resolve.
func (s site) broker() {
	s.Helper()
	path := s.job("smoke-tests-0", "smoke-tests") + "/config/smoke.yml"
	b, err := os.ReadFile(path)
	if err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte("broker-0.bosh"), []byte("127.0.0.1")), 0o600); err != nil {
		s.Fatal(err)
	}
}
