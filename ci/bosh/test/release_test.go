// Package release_test renders the templates of the BOSH release, as the director
// does, and has the real program look at what comes out.
package release_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
)

const release = ".."

// program builds pgpatron, once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pgpatron-release-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "pgpatron")
	out, err := exec.Command("go", "build", "-o", path, "../../../cmd/pgpatron").CombinedOutput()
	if err != nil {
		return "", &os.PathError{Op: string(out), Path: path, Err: err}
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// render renders a manifest and returns the folder of what came out, or what was
// said against it.
func render(t *testing.T, manifest, variables string, operations ...string) (dir, refusal string) {
	t.Helper()
	if _, err := exec.LookPath("ruby"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("ruby is missing: install it")
		}
		t.Skip("ruby is missing")
	}
	dir = t.TempDir()
	cmd := exec.Command("ruby", append([]string{"render", manifest, dir}, operations...)...)
	cmd.Stdin = strings.NewReader(variables)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return dir, said.String() + err.Error()
	}
	return dir, ""
}

// check has the program look at each configuration of a process, and returns what
// it has to say by the instance.
func check(t *testing.T, dir string) map[string]string {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, process := range []string{"broker", "registrar", "router"} {
		files, err := filepath.Glob(dir + "/*/var/vcap/jobs/pgpatron-" + process + "/config/" + process + ".yml")
		if err != nil || len(files) == 0 {
			t.Fatalf("no configuration of a %s came out (%v)", process, err)
		}
		for _, file := range files {
			out, err := exec.Command(bin, process, "--config", file, "--check-config").CombinedOutput()
			if err != nil {
				said[strings.TrimPrefix(file, dir)] = string(out)
			}
		}
	}
	return said
}

const manifest = release + "/manifests/pgpatron.yml"

var given = map[string]string{
	"":               "router_host: db.example.com",
	"use-compiled":   "{router_host: db.example.com, pgpatron_version: 1.0.0, pgpatron_compiled_url: 'https://x', pgpatron_compiled_sha1: abc, stemcell_version: '1.2'}",
	"scale":          "{router_host: db.example.com, router_instances: 4, broker_instances: 3, backend_instances: 6, backend_vm_type: large, backend_disk_type: large}",
	"tls":            "{router_host: db.example.com, broker_host: broker.example.com}",
	"zones":          "{router_host: db.example.com, zones: [eu-1a, eu-1b, eu-1c]}",
	"cf-integration": "{router_host: db.example.com, cf_api_url: 'https://api.example.com', cf_admin_username: admin, cf_admin_password: \"it's $ecret\"}",
}

// Every configuration that comes out is one that the program takes; what can be
// told of shell scripts without running them is right.
func TestRendered(t *testing.T) {
	for operation, variables := range given {
		t.Run("with "+operation, func(t *testing.T) {
			var operations []string
			if operation != "" {
				operations = append(operations, release+"/manifests/operations/"+operation+".yml")
			}
			dir, refusal := render(t, manifest, variables, operations...)
			if refusal != "" {
				t.Fatal(refusal)
			}
			for file, said := range check(t, dir) {
				t.Errorf("%s: %s", file, said)
			}
			wantScripts(t, dir)
			wantBPM(t, dir)
		})
	}
}

func wantScripts(t *testing.T, dir string) {
	t.Helper()
	scripts, err := filepath.Glob(dir + "/*/var/vcap/jobs/*/bin/*")
	if err != nil || len(scripts) < 10 {
		t.Fatalf("%d scripts came out (%v)", len(scripts), err)
	}
	for _, script := range scripts {
		if out, err := exec.Command("bash", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", script, out)
		}
	}
}

func wantBPM(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(dir + "/*/var/vcap/jobs/*/config/bpm.yml")
	if err != nil || len(files) < 7 {
		t.Fatalf("%d bpm.yml came out (%v)", len(files), err)
	}
	for _, file := range files {
		var bpm struct {
			Processes []struct {
				Name, Executable string
				Args             []string
			}
		}
		b, err := os.ReadFile(file)
		if err == nil {
			err = yaml.Unmarshal(b, &bpm)
		}
		job := filepath.Base(filepath.Dir(filepath.Dir(file)))
		if err != nil || len(bpm.Processes) != 1 || bpm.Processes[0].Name != job {
			t.Errorf("%s: %v %+v", file, err, bpm)
		}
	}
}

// All operations go together.
func TestAllOperations(t *testing.T) {
	variables, operations := map[string]any{}, []string{}
	for operation, text := range given {
		if err := yaml.Unmarshal([]byte(text), &variables); err != nil {
			t.Fatal(err)
		}
		if operation != "" && operation != "zones" { // cf-integration's errands keep z1
			operations = append(operations, release+"/manifests/operations/"+operation+".yml")
		}
	}
	delete(variables, "zones")
	text, err := yaml.Marshal(variables)
	if err != nil {
		t.Fatal(err)
	}
	dir, refusal := render(t, manifest, string(text), operations...)
	if refusal != "" {
		t.Fatal(refusal)
	}
	for file, said := range check(t, dir) {
		t.Errorf("%s: %s", file, said)
	}
}

// A manifest that is wrong is refused by the name of what is wrong.
func TestBrokenManifests(t *testing.T) {
	b, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ cut, put, want string }{
		"no password":            {"      password: ((broker_password))\n", "", "Can't find property 'password'"},
		"no seal key":            {"((broker_seal_key))\n", "short\n", "seal_key: must have 32 characters"},
		"no password of etcd":    {"        router: ((etcd_router_password))\n", "", "Can't find property 'passwords.router'"},
		"misspelt property":      {"admin_password: ((", "admin_pasword: ((", "property 'admin_pasword' is not described"},
		"misspelt, deep":         {"password: ((etcd_router_password))\n\n", "pass: ((etcd_router_password))\n\n", "property 'etcd.pass' is not described"},
		"variable of nobody":     {"((router_host))", "((public_host))", "missing variables: public_host"},
		"ports that are none":    {"      router_host:", "      ports: 9-1\n      router_host:", "ports: "},
		"time that is none":      {"      router_host:", "      bind_timeout: soon\n      router_host:", "bind_timeout: want a duration"},
		"plan without nodes":     {"      router_host:", "      plans: [{id: a, name: a, description: a, nodes: 0, memory_mb: 512, milli_cpu: 500}]\n      router_host:", "broker.plans[0].nodes"},
		"plan with a typo":       {"      router_host:", "      plans: [{id: a, nodez: 1}]\n      router_host:", "plans: "},
		"certificate, no key":    {"          certificate: ((etcd_client.certificate))\n          private_key: ((etcd_client.private_key))\n      passwords:", "          certificate: nonsense\n          private_key: nonsense\n      passwords:", "etcd_cert, etcd_key: "},
		"containers named":       {"((etcd_node.certificate))\n            private_key: ((etcd_node.private_key))", "((etcd_client.certificate))\n            private_key: ((etcd_client.private_key))", "etcd_cert_for_nodes: has a common name"},
		"no etcd at all":         {"  - name: etcd\n    release: cfcr-etcd", "  - name: elsewhere\n    release: cfcr-etcd", "etcd.endpoints: must be set"},
		"log level that is none": {"      router_host:", "      log_level: loud\n      router_host:", "log_level: want debug"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(string(b), test.cut) {
				t.Fatalf("the manifest has no %q", test.cut)
			}
			path := filepath.Join(t.TempDir(), "manifest.yml")
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(b), test.cut, test.put)), 0o600); err != nil {
				t.Fatal(err)
			}
			variables := "router_host: db.example.com"
			if strings.Contains(test.cut, "router_host))") {
				variables = "{}"
			}
			dir, said := render(t, path, variables)
			if said == "" {
				for _, s := range check(t, dir) {
					said += s
				}
			}
			if !strings.Contains(said, test.want) {
				t.Errorf("said %q, want %q", said, test.want)
			}
		})
	}
}
