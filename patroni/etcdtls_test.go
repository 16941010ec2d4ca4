package patroni_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

func securedNode() patroni.NodeConfig {
	node := testNode()
	node.Etcd = []string{"https://10.0.0.1:2379", "https://10.0.0.2:2379"}
	node.EtcdLogin = state.Credentials{Username: "node", Password: "1e3"}
	node.EtcdTLS = patroni.EtcdTLS{CA: "the authority", Cert: "a certificate", Key: "its key"}
	return node
}

// Patroni finds TLS and the login in its configuration, by its own names.
func TestPatroniIsToldOfTLSAndLogin(t *testing.T) {
	var read struct {
		Etcd3 map[string]any `yaml:"etcd3"`
	}
	if err := yaml.Unmarshal(configYAML(t, securedNode(), patroni.ServerTLS{}), &read); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"protocol": "https", "hosts": []any{"10.0.0.1:2379", "10.0.0.2:2379"}, "use_proxies": true,
		"username": "node", "password": "1e3",
		"cacert": "/run/patroni/etcd-ca.pem", "cert": "/run/patroni/etcd-cert.pem", "key": "/run/patroni/etcd-key.pem",
	}
	if diff := cmp.Diff(want, read.Etcd3); diff != "" {
		t.Error(diff)
	}
}

// What Patroni is told of is there, for the node's user alone.
func TestEtcdAccessWritesWhatPatroniReads(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "run")
	access, err := securedNode().EtcdAccess(folder)
	if err != nil {
		t.Fatal(err)
	}
	if access.Username != "node" || access.Password.Reveal() != "1e3" || !access.Encrypted() {
		t.Errorf("got user %q, encrypted %v", access.Username, access.Encrypted())
	}
	for path, want := range map[string]string{access.CAFile: "the authority", access.CertFile: "a certificate", access.KeyFile: "its key"} {
		b, err := os.ReadFile(path)
		if err != nil || string(b) != want {
			t.Errorf("%s holds %q (%v), want %q", path, b, err, want)
		}
		if info, err := os.Stat(path); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v", path, info.Mode())
		}
	}
}

func TestEtcdAccessWithoutTLSWritesNothing(t *testing.T) {
	folder := t.TempDir()
	if _, err := testNode().EtcdAccess(folder); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("written: %v (%v)", left, err)
	}
}
