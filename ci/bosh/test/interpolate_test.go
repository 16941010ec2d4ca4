package release_test

import (
	"cmp"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// With what its examples give, and the secrets that are made for it, the manifest
// lacks no variable and takes all of them, as the real CLI sees it.
func TestInterpolatedByTheCLI(t *testing.T) {
	cli, all := theCLI(t), operations(t)
	sets := [][]string{nil, all}
	for _, name := range all {
		sets = append(sets, []string{name})
	}
	for _, names := range sets {
		cli.interpolate(t, filepath.Join(t.TempDir(), "vars.yml"), names, "--var-errs-unused")
	}
}

// Operations files go together in each combination, and configurations come out of
// what the CLI makes that the programs take.
func TestCombinedByTheCLI(t *testing.T) {
	cli, store := theCLI(t), filepath.Join(t.TempDir(), "vars.yml")
	for _, names := range subsets(operations(t)) {
		cli.interpolate(t, store, names)
	}
	made := map[string]any{}
	b, err := os.ReadFile(store)
	if err == nil {
		err = yaml.Unmarshal(b, &made)
	}
	if err != nil || len(made) < 15 {
		t.Fatalf("the CLI has made %d variables (%v)", len(made), err)
	}
	variables := given(t, "tls", "federation")
	maps.Copy(variables, made)
	dir, refusal := render(t, manifest, asYAML(t, variables), operationFile("tls"), operationFile("federation"))
	if refusal != "" {
		t.Fatal(refusal)
	}
	wantGood(t, dir)
}

// cli is the path of the bosh CLI.
type cli string

// theCLI finds the bosh CLI: the one that BOSH_CLI names, or the one that is
// installed.
func theCLI(t *testing.T) cli {
	t.Helper()
	path, err := exec.LookPath(cmp.Or(os.Getenv("BOSH_CLI"), "bosh"))
	if err != nil {
		if os.Getenv("BOSH_CLI") != "" {
			t.Fatal(err)
		}
		t.Skip("no bosh CLI is installed, and BOSH_CLI names none: the manifest is interpolated by ci/bosh/test/manifest.rb alone")
	}
	return cli(path)
}

// interpolate wants the manifest to come out whole with some operations files.
// What the CLI makes it keeps in a store.
func (c cli) interpolate(t *testing.T, store string, names []string, options ...string) {
	t.Helper()
	args := append([]string{"interpolate", manifest, "--vars-store", store, "--var-errs"}, options...)
	for _, name := range append([]string{"pgpatron"}, names...) {
		args = append(args, "--vars-file", release+"/manifests/examples/"+name+".yml")
	}
	for _, name := range names {
		args = append(args, "--ops-file", operationFile(name))
	}
	out, err := exec.CommandContext(t.Context(), string(c), args...).CombinedOutput()
	if err != nil {
		t.Errorf("with %v: %v\n%s", names, err, out)
	} else if strings.Contains(string(out), "((") {
		t.Errorf("with %v: a variable is left", names)
	}
}

// subsets returns all sets of the names, the empty one among them, each in order.
func subsets(names []string) [][]string {
	out := [][]string{nil}
	for _, name := range names {
		for _, set := range slices.Clone(out) {
			out = append(out, append(slices.Clone(set), name))
		}
	}
	return out
}
