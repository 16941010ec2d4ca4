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

	"github.com/pgpatron/pgpatron/fixtures"
)

const (
	release  = ".."
	manifest = release + "/manifests/pgpatron.yml"
)

// processes are those that have a job and a configuration.
var processes = []string{"broker", "registrar", "router", "federation"}

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
	for _, process := range processes {
		files := configurations(t, dir, process)
		if len(files) == 0 && process != "federation" {
			t.Fatalf("no configuration of a %s came out", process)
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

// configurations returns the files that a process of each instance would read.
func configurations(t *testing.T, dir, process string) []string {
	t.Helper()
	files, err := filepath.Glob(dir + "/*/var/vcap/jobs/pgpatron-" + process + "/config/" + process + ".yml")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// operations returns the names of all operations files.
func operations(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(release + "/manifests/operations/*.yml")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d operations files (%v)", len(files), err)
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".yml"))
	}
	return names
}

// operationFile returns the path of an operations file.
func operationFile(name string) string { return release + "/manifests/operations/" + name + ".yml" }

// given returns the variables that an operator gives for the manifest and some
// operations files, as the examples have them.
func given(t *testing.T, operations ...string) map[string]any {
	t.Helper()
	variables := map[string]any{}
	for _, name := range append([]string{"pgpatron"}, operations...) {
		b, err := os.ReadFile(release + "/manifests/examples/" + name + ".yml")
		if err == nil {
			err = yaml.Unmarshal(b, &variables)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if dc, ok := variables["federation_dc"].(string); ok {
		authority := fixtures.NewAuthority(t)
		cert, key := authority.Issue(t, dc)
		for name, path := range map[string]string{"federation_ca": authority.CA(), "federation_certificate": cert, "federation_private_key": key} {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			variables[name] = string(b)
		}
	}
	return variables
}

// asYAML returns a document as text.
func asYAML(t *testing.T, document any) string {
	t.Helper()
	b, err := yaml.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// renderWith renders the manifest with operations files, which is to go well.
func renderWith(t *testing.T, names ...string) string {
	t.Helper()
	var files []string
	for _, name := range names {
		files = append(files, operationFile(name))
	}
	dir, refusal := render(t, manifest, asYAML(t, given(t, names...)), files...)
	if refusal != "" {
		t.Fatal(refusal)
	}
	return dir
}
