package patroni_test

import (
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

func TestConfigGolden(t *testing.T) {
	synchronous := testNode()
	asynchronous := testNode()
	asynchronous.Synchronous = false
	asynchronous.MemoryMB = 0
	asynchronous.InstanceID = "an id/with ü"
	encrypted := patroni.ServerTLS{Certificate: "of the node", PrivateKey: "secret"}
	required := encrypted
	required.Required = true
	for name, c := range map[string]struct {
		node patroni.NodeConfig
		tls  patroni.ServerTLS
	}{
		"synchronous.yml":  {synchronous, patroni.ServerTLS{}},
		"asynchronous.yml": {asynchronous, patroni.ServerTLS{Required: true}},
		"tls.yml":          {synchronous, encrypted},
		"tls-required.yml": {synchronous, required},
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name, configYAML(t, c.node, c.tls))
		})
	}
}

func configYAML(t *testing.T, node patroni.NodeConfig, tls patroni.ServerTLS) []byte {
	t.Helper()
	cfg, err := patroni.NewConfig(node, tls, testAddresses(), patroni.Paths{
		Run: "/run/patroni", Data: "/data", Bin: "/bin", IsReady: "/pg_isready", Sockets: "/sockets", PostBootstrap: "patroni-node post-bootstrap",
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := cfg.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Whatever a password looks like, Patroni must read exactly that.
func TestConfigKeepsPasswords(t *testing.T) {
	for _, password := range []string{"1e3", "0o17", "1_000", "12:30:45", "yes", "~", "null", `a"b\c`, "{a}", "%x", "'"} {
		node := testNode()
		node.Superuser.Password = state.Secret(password)
		var read struct {
			PostgreSQL struct {
				Authentication struct{ Superuser struct{ Password any } }
			} `yaml:"postgresql"`
		}
		b := configYAML(t, node, patroni.ServerTLS{})
		if err := yaml.Unmarshal(b, &read); err != nil {
			t.Fatal(err)
		}
		if got := read.PostgreSQL.Authentication.Superuser.Password; got != password {
			t.Errorf("got password %v, want %q", got, password)
		}
	}
}

// Patroni refuses or silently changes timings that do not fit together.
func TestDynamicConfigTimings(t *testing.T) {
	for _, synchronous := range []bool{false, true} {
		cfg := patroni.NewDynamicConfig(synchronous)
		if cfg.TTL < 20 || cfg.LoopWait+2*cfg.RetryTimeout > cfg.TTL {
			t.Errorf("ttl %d, loop_wait %d, retry_timeout %d do not fit", cfg.TTL, cfg.LoopWait, cfg.RetryTimeout)
		}
		if got, want := cfg.PrimaryStartTimeout == 0, synchronous; got != want {
			t.Errorf("synchronous %v: primary_start_timeout is %d", synchronous, cfg.PrimaryStartTimeout)
		}
	}
}

func TestConfigHidesPasswordsFromFmt(t *testing.T) {
	tls := patroni.ServerTLS{Certificate: "of the node", PrivateKey: "secret"}
	cfg, err := patroni.NewConfig(testNode(), tls, testAddresses(), patroni.Paths{})
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		text := fmt.Sprintf(verb, cfg) + fmt.Sprintf(verb, testNode()) + fmt.Sprintf(verb, tls)
		if strings.Contains(text, "secret") || strings.Contains(text, "1e100") {
			t.Fatalf("%s shows a password: %s", verb, text)
		}
	}
}
