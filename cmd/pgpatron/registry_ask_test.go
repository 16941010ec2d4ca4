package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

const askToken = "the-token-of-an-admin"

// newTestRegistry returns a registry over an etcd.
func newTestRegistry(t *testing.T) http.Handler {
	t.Helper()
	schema := state.NewSchema()
	tables := registry.NewTables(schema, "postgresql-brokerpatroni")
	engine, err := state.NewEngine(state.EngineConfig{
		Client: fixtures.Etcd(t), Schema: schema, Name: "registry", SessionTTL: 2 * time.Second, Log: fixtures.Log(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = engine.Run(ctx) })
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	<-engine.Ready()
	tokens, err := registry.ParseTokens("admin " + askToken)
	if err != nil {
		t.Fatal(err)
	}
	return registry.NewAPI(registry.Config{Self: "n1", Tokens: func() registry.Tokens { return tokens }, Log: fixtures.Log(t)}, engine, tables).Handler()
}

// serveTestRegistry serves a registry over an etcd and returns its URL.
func serveTestRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(newTestRegistry(t))
	t.Cleanup(server.Close)
	return server.URL
}

func TestRegistryCommandAsksAndChanges(t *testing.T) {
	url := serveTestRegistry(t)
	tokenFile := filepath.Join(t.TempDir(), "token")
	definition := filepath.Join(t.TempDir(), "definition.yml")
	for file, content := range map[string]string{
		tokenFile:  askToken + "\n",
		definition: "id: test-a\nimage:\n  name: hashicorp/http-echo\n  port: 8080\nhostPort: 8887\n",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(args ...string) (string, error) {
		var out, errs bytes.Buffer
		err := run(t.Context(), append([]string{"registry", "--url", url, "--token-file", tokenFile}, args...), &out, &errs)
		return out.String(), err
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"put", "definition", "-f", definition}, "test-a"},
		{[]string{"list", "definitions"}, "hashicorp/http-echo"},
		{[]string{"get", "definition", "test-a"}, "ID      IMAGE"},
		{[]string{"list", "instances", "--slug", "none", "--deployment-id", "none"}, "ID  SLUG  URL"},
		{[]string{"list", "nodes"}, "AVAILABILITYZONE"},
		{[]string{"builds", "test-a"}, "DEFINITIONID"},
	} {
		out, err := ask(tc.args...)
		if err != nil || !strings.Contains(out, tc.want) {
			t.Errorf("%v: %v\n%s\nwant %q in it", tc.args, err, out, tc.want)
		}
	}
	out, err := ask("list", "definitions", "-o", "json")
	var definitions []registry.Definition
	if err != nil || json.Unmarshal([]byte(out), &definitions) != nil || len(definitions) != 1 || definitions[0].Ports[0].Host != 8887 {
		t.Errorf("list -o json: %v\n%s", err, out)
	}
	if _, err := ask("delete", "definition", "test-a"); err != nil {
		t.Errorf("delete: %v", err)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"get", "definition", "test-a"}, "there is no definition 'test-a'"},
		{[]string{"list", "clusters"}, `no such kind: "clusters"`},
		{[]string{"list", "nodes", "-o", "xml"}, `output: want table or json, got "xml"`},
		{[]string{"put", "definition", "-f", tokenFile}, "want one YAML or JSON object"},
		{[]string{"put", "definition", "-f", "none.yml"}, "no such file"},
	} {
		if out, err := ask(tc.args...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v\n%s\nwant error %q", tc.args, err, out, tc.want)
		}
	}
}

func TestRegistryCommandNeedsAToken(t *testing.T) {
	t.Setenv("PGPATRON_REGISTRY_TOKEN", "")
	var out, errs bytes.Buffer
	err := run(t.Context(), []string{"registry", "list", "nodes"}, &out, &errs)
	if err == nil || !strings.Contains(err.Error(), "PGPATRON_REGISTRY_TOKEN") {
		t.Errorf("run: %v, want to be told where the token comes from", err)
	}
}
