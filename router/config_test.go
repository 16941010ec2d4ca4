package router_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

func TestConfigDefaultsAreValid(t *testing.T) {
	cfg := router.Config{IP: netip.MustParseAddr("10.0.0.5")}.WithDefaults()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	if cfg.Hold != 30*time.Second || cfg.Metrics != "127.0.0.1:8890" || cfg.Ports.String() != "30000-30999" {
		t.Errorf("defaults are %+v", cfg)
	}
}

func TestConfigReportsEveryProblem(t *testing.T) {
	cfg := router.Config{
		Ports: state.Ports{First: 9, Last: 3}, Hold: -time.Second, DialTimeout: -1, KeepAlive: time.Second,
		UserTimeout: -1, Metrics: "8890", SessionTTL: time.Millisecond,
	}
	err := cfg.WithDefaults().Validate()
	if err == nil {
		t.Fatal("a bad configuration is taken")
	}
	for _, want := range []string{
		"router.ip: must be an address of this router",
		"router.ports: must be FIRST-LAST within 1-65535, got 9-3",
		`router.metrics: must be host:port, got "8890"`,
		"router.hold: must be positive, got -1s",
		"router.dial_timeout: must be positive, got -1ns",
		"router.keep_alive: must be at least 3s, got 1s",
		"router.user_timeout: must be zero or positive, got -1ns",
		"router.session_ttl: must be at least 1s, got 1ms",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("problems lack %q:\n%v", want, err)
		}
	}
}

func TestLocalPortProblem(t *testing.T) {
	for _, test := range []struct {
		name            string
		first, last     int
		local, reserved string
		want            string
	}{
		{"apart", 30000, 30999, "32768\t60999\n", "\n", ""},
		{"within", 40000, 40999, "32768\t60999\n", "\n", "sysctl -w net.ipv4.ip_local_reserved_ports=40000-40999"},
		{"partly", 32000, 33000, "32768\t60999\n", "8080\n", "sysctl -w net.ipv4.ip_local_reserved_ports=8080,32768-33000"},
		{"reserved", 40000, 40999, "32768\t60999\n", "8080,39000-40500,40501-41000\n", ""},
		{"partly reserved", 40000, 40999, "32768\t60999\n", "40000-40500\n", "ip_local_reserved_ports=40000-40500,40000-40999"},
		{"unreadable", 40000, 40999, "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := router.LocalPortProblem(state.Ports{First: test.first, Last: test.last}, test.local, test.reserved)
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("problem is %q, want %q", got, test.want)
			}
		})
	}
}
