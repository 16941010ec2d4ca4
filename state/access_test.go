package state_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

func TestAccessOverTLS(t *testing.T) {
	t.Parallel()
	files := fixtures.PKI(t)
	cluster := fixtures.NewEtcdClusterTLS(t, "127.0.0.1", files)
	for name, test := range map[string]struct {
		access state.Access
		want   string
	}{
		"with a certificate":   {state.Access{CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key}, ""},
		"by URL":               {state.Access{CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key, Endpoints: []string{"https://" + cluster.Endpoint(0)}}, ""},
		"without one":          {state.Access{CAFile: files.CA}, "does not answer"},
		"of another authority": {state.Access{CAFile: fixtures.NewAuthority(t).CA(), CertFile: files.Cert, KeyFile: files.Key}, "does not answer"},
		"plain":                {state.Access{}, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.access.Endpoints == nil {
				test.access.Endpoints = cluster.Endpoints()
			}
			client, err := test.access.Dial()
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			err = check(t, client)
			if got := err == nil; got != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestAccessTellsEveryProblem(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := state.Access{CAFile: junk, CertFile: junk, KeyFile: junk, Password: "secret-of-mine"}.Validate()
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{"etcd: must name", "etcd_ca: ", "holds no certificate", "etcd_cert, etcd_key: ", "etcd_username, etcd_password: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("does not say %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "secret-of-mine") {
		t.Errorf("holds the password: %v", err)
	}
}
