package release_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Every configuration that comes out is one that the program takes; what can be
// told of shell scripts without running them is right.
func TestRendered(t *testing.T) {
	sets := [][]string{nil}
	for _, name := range operations(t) {
		sets = append(sets, []string{name})
	}
	for _, names := range sets {
		t.Run("with "+strings.Join(names, ""), func(t *testing.T) { wantGood(t, renderWith(t, names...)) })
	}
}

// All operations go together, but that the errands of cf-integration keep to z1.
func TestAllOperations(t *testing.T) {
	wantGood(t, renderWith(t, slices.DeleteFunc(operations(t), func(name string) bool { return name == "zones" })...))
}

// A key that seals is replaced by a new one in its place, before those that still
// open what they have sealed.
func TestFurtherKeysStillOpen(t *testing.T) {
	variables := given(t, "tls")
	for file, variable := range map[string]string{"record.key": "record_key", "seal.key": "broker_seal_key"} {
		variables[variable] = strings.Repeat("new", 16)
		one := keysOf(t, file, variables)
		three := keysOf(t, file, variables, everything)
		if len(one) != 1 || len(three) != 3 || three[0] != one[0] {
			t.Errorf("the keys in %s are %q, and with two further ones %q", file, one, three)
		}
	}
}

// keysOf returns the keys in a file of the broker's.
func keysOf(t *testing.T, file string, variables map[string]any, operations ...string) []string {
	t.Helper()
	dir, refusal := render(t, manifest, asYAML(t, variables), append([]string{operationFile("tls")}, operations...)...)
	if refusal != "" {
		t.Fatal(refusal)
	}
	b, err := os.ReadFile(dir + "/broker-0/var/vcap/jobs/pgpatron-broker/config/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

func wantGood(t *testing.T, dir string) {
	t.Helper()
	for file, said := range check(t, dir) {
		t.Errorf("%s: %s", file, said)
	}
	wantScripts(t, dir)
	wantBPM(t, dir)
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

// What a site's federation process can not do with its certificate is told by its keys.
func TestBrokenFederation(t *testing.T) {
	for variable, test := range map[string]struct{ put, want string }{
		"federation_dc":          {"DC 1", "federation.dc: "},
		"federation_address":     {"0.0.0.0:9610", "address: "},
		"federation_certificate": {"nonsense", "federation.cert, key, ca: "},
	} {
		variables := given(t, "federation")
		variables[variable] = test.put
		dir, said := render(t, manifest, asYAML(t, variables), operationFile("federation"))
		if said == "" {
			said = strings.Join(slices.Collect(maps.Values(check(t, dir))), "")
		}
		if !strings.Contains(said, test.want) {
			t.Errorf("%s: said %q, want %q", variable, said, test.want)
		}
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
		"no seal key":            {"((broker_seal_key))\n", "short\n", "seal_key, previous_seal_keys: each must have 32 characters"},
		"no old seal key":        {"((broker_seal_key))\n", "((broker_seal_key))\n      previous_seal_keys: [short]\n", "previous_seal_keys: each must have 32 characters"},
		"no old record key":      {"      record_key: ((record_key))\n", "      record_key: ((record_key))\n      previous_record_keys: [short]\n", "previous_record_keys: each must have 32 characters"},
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
		"tokens without a role":  {"{role: admin, token: ((registry_admin_token)), name: operators}", "{token: ((registry_admin_token))}", "registry_tokens: each must have a role and a token"},
		"role that is none":      {"{role: admin, token", "{role: owner, token", "registry_tokens_file: "},
		"labels that are none":   {"      registry_tokens:", "      labels: [ssd]\n      registry_tokens:", "labels: "},
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
