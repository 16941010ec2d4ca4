package patroni_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/patroni"
)

func TestReadNodeConfig(t *testing.T) {
	want := testNode()
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "node.json")
	if err := os.WriteFile(path, b, 0o400); err != nil {
		t.Fatal(err)
	}
	got, err := patroni.ReadNodeConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read differs from written (-want +got):\n%s", diff)
	}
}

func TestReadNodeConfigRefuses(t *testing.T) {
	valid, err := json.Marshal(testNode())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ content, want string }{
		"unknown field": {strings.Replace(string(valid), `"owner"`, `"ownr"`, 1), `unknown field "ownr"`},
		"not JSON":      {"{", "unexpected EOF"},
		"two values":    {string(valid) + "{}", "more than one JSON value"},
		"wrong type":    {strings.Replace(string(valid), `512`, `"512"`, 1), "memory_mb"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := patroni.DecodeNodeConfig([]byte(test.content))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
	if _, err := patroni.ReadNodeConfig(filepath.Join(t.TempDir(), "none.json")); err == nil {
		t.Error("a missing file gave no error")
	}
}

func TestValidateReportsEveryProblem(t *testing.T) {
	err := patroni.NodeConfig{MemoryMB: -1}.Validate()
	if err == nil {
		t.Fatal("an empty configuration is valid")
	}
	lines := strings.Split(err.Error(), "\n")
	for _, key := range []string{
		"instance_id", "node_id", "image", "hostname", "container", "memory_mb", "etcd", "owner", "database",
		"superuser.username", "superuser.password", "replication.username", "replication.password",
		"admin.username", "admin.password", "rest.username", "rest.password",
	} {
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, key+": ") }) {
			t.Errorf("no line for %s in:\n%v", key, err)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*patroni.NodeConfig)
		want  string
	}{
		"etcd without a port":   {func(c *patroni.NodeConfig) { c.Etcd = []string{"http://etcd"} }, `etcd: "http://etcd" is not a URL`},
		"etcd without a scheme": {func(c *patroni.NodeConfig) { c.Etcd = []string{"etcd:2379"} }, `etcd: "etcd:2379" is not a URL`},
		"etcd login halved":     {func(c *patroni.NodeConfig) { c.EtcdLogin.Username = "node" }, "etcd_login: a username needs a password"},
		"etcd without its key":  {func(c *patroni.NodeConfig) { c.EtcdTLS.Cert = "x" }, "etcd_tls: a certificate needs its key"},
		"etcd of two schemes":   {func(c *patroni.NodeConfig) { c.Etcd = []string{"http://a:1", "https://b:1"} }, "differ in scheme"},
		"name to be quoted":     {func(c *patroni.NodeConfig) { c.Owner = "App" }, `owner: "App" is not`},
		"name twice":            {func(c *patroni.NodeConfig) { c.Admin.Username = "app_owner" }, `admin.username: "app_owner" is the name of owner, too`},
		"system database":       {func(c *patroni.NodeConfig) { c.Database = "postgres" }, `database: "postgres" can not be`},
		"password with a space": {func(c *patroni.NodeConfig) { c.Admin.Password = "hush hush" }, "admin.password: must be of printable ASCII"},
		"password not ASCII":    {func(c *patroni.NodeConfig) { c.REST.Password = "hüsh" }, "rest.password: must be of printable ASCII"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testNode()
			test.spoil(&cfg)
			err := cfg.Validate()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "hüsh")) {
				t.Errorf("error quotes a password: %v", err)
			}
		})
	}
}
