package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/fixtures"
)

// do runs a command that ends by itself, well, and returns what it said.
func do(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(t.Context(), args, &out, &out); err != nil {
		t.Fatalf("pgpatron %s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}

// What init writes is what --check-config takes, and nobody else can read it.
func TestInitWritesAConfigurationThatIsGood(t *testing.T) {
	authority := fixtures.NewAuthority(t)
	cert, key := authority.Issue(t, "dc-1")
	for process, given := range map[string][]string{
		"broker":    {"router_host=db.example.com"},
		"registrar": {"backend=10.0.0.7", "zone=z1"},
		"router":    nil,
		"federation": {
			"dc=dc-1", "cert=" + cert, "key=" + key, "ca=" + authority.CA(), "listen=10.0.0.7:9610",
		},
	} {
		t.Run(process, func(t *testing.T) {
			dir := t.TempDir()
			wantSays(t, do(t, append([]string{"init", process, "--dir", dir}, given...)...), "--check-config")
			path := filepath.Join(dir, process+".yml")
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("the file is %v (%v), want it readable by its owner alone", info, err)
			}
			wantSays(t, do(t, process, "--config", path, "--check-config"), "the configuration of "+process+" is good")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, pair := range given {
				wantSays(t, string(b), strings.Replace(pair, "=", ": ", 1))
			}
			wantSays(t, fail(t, append([]string{"init", process, "--dir", dir}, given...)...), "is there already")
		})
	}
}

func TestInitMakesSecretsAnew(t *testing.T) {
	var seen []string
	for range 2 {
		dir := t.TempDir()
		do(t, "init", "broker", "--dir", dir)
		do(t, "init", "registrar", "--dir", dir)
		do(t, "init", "federation", "--dir", dir, "dc=dc-1")
		for _, file := range []string{"broker.yml", "seal.key", "record.key", "registry-tokens", "federation.yml"} {
			b, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			for _, other := range seen {
				if other == string(b) {
					t.Errorf("%s is the same again", file)
				}
			}
			seen = append(seen, string(b))
		}
	}
}

// A site's backends may share the tokens, as they may share other files.
func TestInitKeepsTheTokensThatAreThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "registry-tokens")
	if err := os.WriteFile(path, []byte("view 0123456789abcdef dashboards\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	do(t, "init", "registrar", "--dir", dir, "backend=10.0.0.7")
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), "dashboards") {
		t.Errorf("the tokens are now %q (%v)", b, err)
	}
	wantSays(t, do(t, "registrar", "--config", filepath.Join(dir, "registrar.yml"), "--check-config"), "is good")
}

func TestInitTakesSettingsAlone(t *testing.T) {
	dir := t.TempDir()
	for args, want := range map[string]string{
		"hodl=4s":      "hodl: is not KEY=VALUE of a setting of router",
		"hold":         "hold: is not KEY=VALUE",
		"hold=soon":    "hold: want a duration",
		"config=other": "config: is not KEY=VALUE",
	} {
		wantSays(t, fail(t, "init", "router", "--dir", dir, args), want)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("something was written: %v", left)
	}
}

func TestCheckConfigOpensNothing(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "seal.key")
	do(t, "broker", "--check-config", "--password=x", "--seal-key-file="+key, "--etcd=127.0.0.1:1")
	if _, err := os.Stat(key); err == nil {
		t.Error("the seal key was made")
	}
}

func TestCheckConfigTellsEveryMistake(t *testing.T) {
	got := fail(t, "broker", "--check-config", "--bind-timeout=-1s", "--etcd-ca=/nonexistent.pem", "--etcd-username=me", "--etcd-cert=/a.pem")
	wantSays(t, got, "broker.password: must be set", "broker.bind_timeout: must be positive", "etcd_ca: ", "etcd_username, etcd_password:", "etcd_cert, etcd_key: one can not")
	wantSays(t, fail(t, "registrar", "--check-config", "--etcd-password-for-nodes=x"), "registrar.backend: must be", "etcd_username_for_nodes")
	wantSays(t, fail(t, "router", "--check-config", "--hold=-1s", "--etcd=http://a:1", "--etcd-ca=/nonexistent.pem"), "router.hold: must be", "an address is http://")
}
