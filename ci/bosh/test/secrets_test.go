package release_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// mark begins every secret of a test.
const mark = "marked-secret-"

// Secrets are in files of configuration, which others can not read, and nowhere
// else: no script, argument or limit of a process holds one.
func TestSecretsStayInTheirFiles(t *testing.T) {
	names := operations(t)
	var files []string
	for _, name := range names {
		files = append(files, operationFile(name))
	}
	variables := given(t, names...)
	for name, value := range secretsOf(t) {
		variables[name] = value
	}
	variables["zones"] = []string{"z1"}
	dir, refusal := render(t, manifest, asYAML(t, variables), files...)
	if refusal != "" {
		t.Fatal(refusal)
	}
	held := 0
	rendered, err := filepath.Glob(dir + "/*/var/vcap/jobs/*/*/*")
	if err != nil || len(rendered) == 0 {
		t.Fatalf("nothing came out (%v)", err)
	}
	for _, path := range rendered {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), mark) {
			continue
		}
		held++
		if strings.Contains(path, "/bin/") || strings.HasSuffix(path, "/bpm.yml") {
			t.Errorf("%s holds a secret", strings.TrimPrefix(path, dir))
		}
	}
	if held < 10 {
		t.Errorf("%d files hold a secret: the marks have not come through", held)
	}
}

// secretsOf gives each secret that the director would make a value that can be
// found again.
func secretsOf(t *testing.T) map[string]any {
	t.Helper()
	out := map[string]any{"cf_admin_password": mark + "of-the-platform"}
	for _, path := range []string{manifest, operationFile("federation")} {
		for _, name := range passwordsOf(t, path) {
			out[name] = mark + name + strings.Repeat("x", 32)
		}
	}
	return out
}

// passwordsOf returns the passwords that a manifest or an operations file declares.
func passwordsOf(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	var visit func(yaml.Node)
	visit = func(node yaml.Node) {
		var variable struct{ Name, Type string }
		if node.Kind == yaml.MappingNode && node.Decode(&variable) == nil && variable.Type == "password" {
			out = append(out, variable.Name)
		}
		for _, inner := range node.Content {
			visit(*inner)
		}
	}
	var root yaml.Node
	if err := yaml.Unmarshal(b, &root); err != nil {
		t.Fatal(err)
	}
	visit(root)
	if len(out) == 0 {
		t.Fatalf("%s declares no password", path)
	}
	return out
}

// A manifest names its secrets, and holds none: what a property takes that is
// secret is a variable.
func TestManifestsHoldNoSecret(t *testing.T) {
	secret := map[string]bool{}
	for _, job := range specs(t, "jobs") {
		for key, p := range job.Properties {
			if p.Type == "secret" || p.Type == "pem" {
				secret[key[strings.LastIndex(key, ".")+1:]] = true
			}
		}
	}
	delete(secret, "ca") // in a variable it is the name of another
	files := []string{manifest}
	for _, name := range operations(t) {
		files = append(files, operationFile(name))
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(b), "\n") {
			key, value, _ := strings.Cut(strings.TrimLeft(line, " -"), ":")
			value = strings.TrimSpace(value)
			if secret[key] && value != "" && !strings.HasPrefix(value, "((") && !strings.HasPrefix(value, "|") {
				t.Errorf("%s:%d: %s is %s", path, n+1, key, value)
			}
		}
	}
}
