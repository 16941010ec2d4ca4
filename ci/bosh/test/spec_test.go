package release_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// spec is what a job or a package says of itself.
type spec struct {
	Name         string
	Description  string
	Templates    map[string]string
	Packages     []string
	Dependencies []string
	Files        []string
	Consumes     []link
	Provides     []link
	Properties   map[string]property
}

type link struct {
	Name, Type string
	Properties []string
}

type property struct {
	Description, Type string
	Default           any
}

// specs reads the specs of all jobs, or of all packages, by the folder's name.
func specs(t *testing.T, kind string) map[string]spec {
	t.Helper()
	files, err := filepath.Glob(release + "/" + kind + "/*/spec")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d specs of %s (%v)", len(files), kind, err)
	}
	out := map[string]spec{}
	for _, file := range files {
		var s spec
		b, err := os.ReadFile(file)
		if err == nil {
			err = yaml.Unmarshal(b, &s)
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out[filepath.Base(filepath.Dir(file))] = s
	}
	return out
}

// A job has the name of its folder, a monit file, and the templates, packages and
// links that it names.
func TestJobsAreWhole(t *testing.T) {
	packages := specs(t, "packages")
	jobs := specs(t, "jobs")
	provided := map[string]bool{"etcd": true} // by the etcd release
	for _, job := range jobs {
		for _, p := range job.Provides {
			provided[p.Type] = true
		}
	}
	for name, job := range jobs {
		dir := release + "/jobs/" + name
		if job.Name != name || job.Description == "" {
			t.Errorf("%s: the name is %q, the description %q", name, job.Name, job.Description)
		}
		if _, err := os.Stat(dir + "/monit"); err != nil {
			t.Error(err)
		}
		files, err := os.ReadDir(dir + "/templates")
		if err != nil || len(files) != len(job.Templates) {
			t.Errorf("%s: %d templates, of which the spec names %d (%v)", name, len(files), len(job.Templates), err)
		}
		for _, file := range files {
			if job.Templates[file.Name()] == "" {
				t.Errorf("%s: the spec does not name %s", name, file.Name())
			}
		}
		for _, p := range job.Packages {
			if _, ok := packages[p]; !ok {
				t.Errorf("%s: no package %s", name, p)
			}
		}
		for _, link := range job.Consumes {
			if !provided[link.Type] {
				t.Errorf("%s: nobody provides link %s of type %s", name, link.Name, link.Type)
			}
		}
	}
}

// typed are the types of properties, with what a default of them is.
var typed = map[string]func(any) bool{
	"string":   func(v any) bool { _, ok := v.(string); return ok },
	"integer":  func(v any) bool { _, ok := v.(int); return ok },
	"boolean":  func(v any) bool { _, ok := v.(bool); return ok },
	"duration": func(v any) bool { return regexp.MustCompile(`^[0-9]+[smh]$`).MatchString(fmt.Sprint(v)) },
	"list":     func(v any) bool { _, ok := v.([]any); return ok },
	"map":      func(v any) bool { _, ok := v.(map[string]any); return ok },
	// What is secret, or a site's own, has no default.
	"secret": func(any) bool { return false },
	"pem":    func(any) bool { return false },
}

// Each property says what it means and of which type it is, has a default of that
// type if it has one, and is read by a template of its job.
func TestPropertiesAreDescribed(t *testing.T) {
	for name, job := range specs(t, "jobs") {
		read := templates(t, name)
		for key, p := range job.Properties {
			is, ok := typed[p.Type]
			switch {
			case !ok:
				t.Errorf("%s: %s: no such type: %q", name, key, p.Type)
			case len(p.Description) < 15 || !strings.HasSuffix(p.Description, "."):
				t.Errorf("%s: %s: the description is %q", name, key, p.Description)
			case p.Default != nil && !is(p.Default):
				t.Errorf("%s: %s: the default %v is no %s", name, key, p.Default, p.Type)
			}
			forOthers := slices.ContainsFunc(job.Provides, func(l link) bool { return slices.Contains(l.Properties, key) })
			if !forOthers && !reads(read, key) {
				t.Errorf("%s: no template reads %s", name, key)
			}
		}
	}
}

// reads tells whether templates name a property, whole or as an item of a list.
func reads(templates, key string) bool {
	if user, ok := strings.CutPrefix(key, "passwords."); ok && strings.Contains(templates, "passwords.#{name}") {
		key = user
	}
	return regexp.MustCompile(`['\[\s]` + regexp.QuoteMeta(key) + `['\]\s]`).MatchString(templates)
}

// templates returns all templates of a job as one text.
func templates(t *testing.T, job string) string {
	t.Helper()
	files, err := filepath.Glob(release + "/jobs/" + job + "/templates/*")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

// The bosh CLI packs nothing that it finds behind a link, and refuses a release in
// which a package's glob finds nothing.
func TestNothingIsBehindALink(t *testing.T) {
	for _, kind := range []string{"jobs", "packages", "src", "config"} {
		err := filepath.WalkDir(release+"/"+kind, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type()&fs.ModeSymlink != 0 {
				t.Errorf("%s is a link", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// Each package has a script, and what it depends on.
func TestPackagesAreWhole(t *testing.T) {
	packages := specs(t, "packages")
	for name, p := range packages {
		if p.Name != name || len(p.Files) == 0 {
			t.Errorf("%s: the name is %q, files are %v", name, p.Name, p.Files)
		}
		if _, err := os.Stat(release + "/packages/" + name + "/packaging"); err != nil {
			t.Error(err)
		}
		for _, d := range p.Dependencies {
			if _, ok := packages[d]; !ok {
				t.Errorf("%s: no package %s", name, d)
			}
		}
	}
}

// What is packed of blobs stands in config/blobs.yml with its size and digest.
func TestConfigOfTheRelease(t *testing.T) {
	var final struct {
		Name      string
		Blobstore struct{ Provider string }
	}
	var blobs map[string]struct {
		Size int64
		SHA  string
	}
	for path, into := range map[string]any{"final.yml": &final, "blobs.yml": &blobs} {
		b, err := os.ReadFile(release + "/config/" + path)
		if err == nil {
			err = yaml.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if final.Name != "pgpatron" || final.Blobstore.Provider == "" {
		t.Errorf("config/final.yml says %+v", final)
	}
	for _, want := range []string{"golang/go", "modules/vendor.tar.gz"} {
		found := false
		for path, blob := range blobs {
			found = found || strings.HasPrefix(path, want) && blob.Size > 0 && strings.HasPrefix(blob.SHA, "sha256:")
		}
		if !found {
			t.Errorf("config/blobs.yml does not have %s…: %v", want, blobs)
		}
	}
}
