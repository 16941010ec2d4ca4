package registrar_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/state"
)

func TestValidateTellsEveryProblemByKey(t *testing.T) {
	cfg := registrar.Config{
		Hostname: "no:colons", Ports: state.Ports{First: 5, Last: 5}, Etcd: []string{"10.0.0.1:2379", "http://ok:2379"}, SessionTTL: 1,
	}
	err := cfg.Validate()
	if err == nil {
		t.Fatal("a configuration without sense is valid")
	}
	for _, key := range []string{"backend", "hostname", "host_ports", "site", "etcd", "session_ttl", "image"} {
		if !strings.Contains(err.Error(), "registrar."+key+": ") {
			t.Errorf("%q does not tell of registrar.%s", err, key)
		}
	}
}

func TestDefaultsAreValid(t *testing.T) {
	cfg := registrar.Config{
		Backend: netip.MustParseAddr("10.0.0.7"), Hostname: "db1", Site: "s", Etcd: []string{"http://10.0.0.1:2379"},
	}.WithDefaults()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	cfg.ID = "fd00::7" // which it had, and keeps
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	if cfg.Ports.Last >= 32768 {
		t.Errorf("host ports %v lie where clients' own do", cfg.Ports)
	}
}

// listen holds a port for the test.
func listen(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}
