package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/pgpatron/pgpatron/broker/catalog"
)

type sample struct {
	listen string
	hold   time.Duration
	plans  []catalog.Plan
	share  bool
}

// load parses a command line, an environment and a file.
func load(t *testing.T, args []string, env map[string]string, file string) (sample, error) {
	t.Helper()
	var got sample
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	s := newSettings(flags)
	s.env = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	add(s, "listen-at", &got.listen, "127.0.0.1:1", "", hostPort)
	add(s, "hold", &got.hold, "30s", "", duration)
	add(s, "plans", &got.plans, "", "", strictYAML[[]catalog.Plan])
	add(s, "share", &got.share, "false", "", boolean)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	path := ""
	if file != "" {
		path = filepath.Join(t.TempDir(), "config.yml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return got, s.load(path)
}

func TestPrecedence(t *testing.T) {
	file := "listen_at: 127.0.0.1:4\nhold: 4s\n"
	for name, test := range map[string]struct {
		args []string
		env  map[string]string
		file string
		want time.Duration
	}{
		"default":                       {want: 30 * time.Second},
		"file over default":             {file: file, want: 4 * time.Second},
		"environment over file":         {env: map[string]string{"PGPATRON_HOLD": "5s"}, file: file, want: 5 * time.Second},
		"command line over environment": {args: []string{"--hold=6s"}, env: map[string]string{"PGPATRON_HOLD": "5s"}, file: file, want: 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := load(t, test.args, test.env, test.file)
			if err != nil {
				t.Fatal(err)
			}
			if got.hold != test.want {
				t.Errorf("hold = %v, want %v", got.hold, test.want)
			}
		})
	}
}

func TestSwitchNeedsNoValue(t *testing.T) {
	got, err := load(t, []string{"--share", "--hold=1s"}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if !got.share || got.hold != time.Second {
		t.Errorf("got %+v", got)
	}
}

func TestEveryProblemIsToldAtOnce(t *testing.T) {
	_, err := load(t, []string{"--listen-at=nonsense"}, nil, "hodl: 4s\nhold: soon\nplans: [{nodes: two}]\n")
	if err == nil {
		t.Fatal("a configuration with four mistakes was taken")
	}
	for _, want := range []string{"listen_at: want host:port", "hodl: no such key", `hold: want a duration`, "plans: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
}

func TestPlansInTheFile(t *testing.T) {
	got, err := load(t, nil, nil, "plans:\n  - id: a\n    name: tiny\n    description: one\n    nodes: 1\n    memory_mb: 256\n    milli_cpu: 500\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []catalog.Plan{{ID: "a", Name: "tiny", Description: "one", Nodes: 1, MemoryMB: 256, MilliCPU: 500}}
	if diff := cmp.Diff(want, got.plans); diff != "" {
		t.Error(diff)
	}
}

// The reference files are what operators copy from: each parses, and names
// every setting that is not a secret or this host's own.
func TestReferenceFilesParse(t *testing.T) {
	for _, cmd := range newRoot().Commands() {
		if cmd.Flags().Lookup("check-config") == nil {
			continue // an operator's command
		}
		t.Run(cmd.Name(), func(t *testing.T) {
			path := filepath.Join("reference", cmd.Name()+".yml")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var given map[string]any
			if err := yaml.Unmarshal(b, &given); err != nil {
				t.Fatal(err)
			}
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				_, there := given[fileKey(f.Name)]
				if v, ok := f.Value.(interface{ check(string) error }); there && ok {
					if err := v.check(textOf(t, b, fileKey(f.Name))); err != nil {
						t.Errorf("%s: %v", f.Name, err)
					}
					delete(given, fileKey(f.Name))
				} else if !there && ok && !ownOrSecret[f.Name] && f.Name != "docker-host" {
					t.Errorf("%s does not name %s", path, fileKey(f.Name))
				}
			})
			for key := range given {
				t.Errorf("%s names %s, which is no setting", path, key)
			}
		})
	}
}

// ownOrSecret are settings that a shared file does not hold.
var ownOrSecret = map[string]bool{"etcd-password": true, "etcd-password-for-nodes": true, "password": true, "previous-username": true, "admin-password": true, "previous-password": true, "hostname": true, "image": true, "plans": true, "service": true,
	"dc": true, "address": true, "cert": true, "key": true, "ca": true, "join-token": true}

func textOf(t *testing.T, file []byte, key string) string {
	t.Helper()
	var doc map[string]yaml.Node
	if err := yaml.Unmarshal(file, &doc); err != nil {
		t.Fatal(err)
	}
	text, err := nodeText(doc[key])
	if err != nil {
		t.Fatal(err)
	}
	return text
}
