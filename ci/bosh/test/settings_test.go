package release_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// beyond are settings that no property sets, and why.
var beyond = map[string]string{
	"broker.key_command":    "seal_key and record_key are the director's, whose CredHub is what would keep the keys",
	"registrar.key_command": "as for the broker",
	"registrar.id":          "a property is one for all hosts of a group; who renumbers a host gives its VM the old id by hand",
}

// everything gives every property that has no default and that the manifest does
// not give: with it, every setting of a process is set.
const everything = "testdata/everything.yml"

// Whatever can be configured can be configured through BOSH.
func TestEverySettingHasAProperty(t *testing.T) {
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir, refusal := render(t, manifest, asYAML(t, given(t, "tls", "federation")), operationFile("tls"), operationFile("federation"), everything)
	if refusal != "" {
		t.Fatal(refusal)
	}
	for file, said := range check(t, dir) {
		t.Errorf("%s: %s", file, said)
	}
	for _, process := range processes {
		set := configured(t, dir, process)
		for _, name := range settingsOf(t, bin, process) {
			if _, ok := set[name]; !ok && beyond[process+"."+name] == "" {
				t.Errorf("no property of pgpatron-%s sets %s", process, name)
			}
		}
	}
}

// configured reads the configuration of one instance of a process.
func configured(t *testing.T, dir, process string) map[string]any {
	t.Helper()
	files := configurations(t, dir, process)
	if len(files) == 0 {
		t.Fatalf("no configuration of a %s", process)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var set map[string]any
	if err := json.Unmarshal(b, &set); err != nil {
		t.Fatalf("%s: %v", filepath.Base(files[0]), err)
	}
	return set
}

var setting = regexp.MustCompile(`\[PGPATRON_([A-Z_]+)\]`)

// settingsOf asks the program for the settings of a process.
func settingsOf(t *testing.T, bin, process string) []string {
	t.Helper()
	help, err := exec.Command(bin, process, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, match := range setting.FindAllStringSubmatch(string(help), -1) {
		names = append(names, strings.ToLower(match[1]))
	}
	if len(names) < 10 {
		t.Fatalf("%s has %d settings only: %v", process, len(names), names)
	}
	return names
}
