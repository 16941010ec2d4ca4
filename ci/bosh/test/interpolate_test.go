package release_test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// With what its example gives, and the secrets that the director makes, the
// manifest lacks no variable and takes all of them, as the real CLI sees it.
func TestInterpolatedByTheCLI(t *testing.T) {
	bosh, err := exec.LookPath("bosh")
	if err != nil {
		t.Skip("the bosh CLI is not installed: the manifest is interpolated by ci/bosh/test/manifest.rb alone")
	}
	interpolate := func(t *testing.T, names ...string) {
		args := []string{"interpolate", manifest, "--vars-store", filepath.Join(t.TempDir(), "vars.yml"), "--var-errs", "--var-errs-unused"}
		for _, name := range append([]string{"pgpatron"}, names...) {
			args = append(args, "--vars-file", release+"/manifests/examples/"+name+".yml")
		}
		for _, name := range names {
			args = append(args, "--ops-file", operationFile(name))
		}
		if out, err := exec.CommandContext(t.Context(), bosh, args...).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	t.Run("alone", func(t *testing.T) { interpolate(t) })
	for _, name := range operations(t) {
		t.Run("with "+name, func(t *testing.T) { interpolate(t, name) })
	}
	t.Run("with all", func(t *testing.T) { interpolate(t, operations(t)...) })
}
