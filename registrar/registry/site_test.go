package registry_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

const tokensFile = `
# role token name
view  the-token-of-a-viewer
edit  the-token-of-an-editor  eve
admin the-token-of-an-admin   ada
`

const (
	viewer = "the-token-of-a-viewer"
	editor = "the-token-of-an-editor"
	admin  = "the-token-of-an-admin"
)

// site is the registry of one node over an etcd, seen from the side of HTTP.
type site struct {
	testing.TB
	etcd   *clientv3.Client
	server *httptest.Server
	routes chi.Router
}

func newSite(t *testing.T) *site {
	t.Helper()
	tokens, err := registry.ParseTokens(tokensFile)
	if err != nil {
		t.Fatal(err)
	}
	return newSiteFor(t, func() registry.Tokens { return tokens })
}

// newSiteFor returns a registry that lets in the bearers of these tokens.
func newSiteFor(t *testing.T, tokens func() registry.Tokens) *site {
	t.Helper()
	t.Parallel()
	s := &site{TB: t, etcd: fixtures.Etcd(t)}
	schema := state.NewSchema()
	tables := registry.NewTables(schema, "postgresql-brokerpatroni")
	engine, _ := fixtures.RunEngine(t, state.EngineConfig{Client: s.etcd, Schema: schema, Name: "registry", SessionTTL: 2 * time.Second})
	<-engine.Ready()
	s.routes = registry.NewAPI(registry.Config{Self: "n1", Tokens: tokens, Log: fixtures.Log(t)}, engine, tables).Handler()
	s.server = httptest.NewServer(s.routes)
	t.Cleanup(s.server.Close)
	return s
}

// answer is what the API said.
type answer struct {
	status int
	body   map[string]any
	header http.Header
}

// problem returns the error's text and field.
func (a answer) problem() (text, field string) {
	text, _ = a.body["error"].(string)
	field, _ = a.body["field"].(string)
	return text, field
}

// call sends a request with a JSON text as its body, "" for none.
func (s *site) call(method, path, token, body string) answer {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.server.URL+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header}
	if err := json.Unmarshal(text, &a.body); err != nil {
		s.Fatalf("%s %s answers %s, which is no JSON object", method, path, text)
	}
	return a
}

// put sends an entity that must be taken, and returns it as it is then.
func (s *site) put(kind, body string) map[string]any {
	s.Helper()
	a := s.call("PUT", "/registry-svc/"+kind, admin, body)
	if a.status != http.StatusOK {
		s.Fatalf("PUT %s %s: %d %v", kind, body, a.status, a.body)
	}
	return a.body[kind].(map[string]any)
}

// get returns one entity.
func (s *site) get(kind, id string) map[string]any {
	s.Helper()
	a := s.call("GET", "/registry-svc/"+kind+"/"+id, viewer, "")
	if a.status != http.StatusOK {
		s.Fatalf("GET %s %s: %d %v", kind, id, a.status, a.body)
	}
	return a.body[kind].(map[string]any)
}

// list returns the ids of a kind, with a query if there is one.
func (s *site) list(path string) string {
	s.Helper()
	a := s.call("GET", "/registry-svc/"+path, viewer, "")
	if a.status != http.StatusOK {
		s.Fatalf("GET %s: %d %v", path, a.status, a.body)
	}
	kind, _, _ := strings.Cut(path, "?")
	var ids []string
	for _, e := range a.body[kind].([]any) {
		ids = append(ids, e.(map[string]any)["id"].(string))
	}
	return strings.Join(ids, " ")
}

// refused checks that a request is refused with a status, a text and a field.
func (s *site) refused(a answer, status int, text, field string) {
	s.Helper()
	gotText, gotField := a.problem()
	if a.status != status || !strings.Contains(gotText, text) || gotField != field {
		s.Errorf("answer is %d %v, want %d with error %q and field %q", a.status, a.body, status, text, field)
	}
}

// store writes a record as another process would, and waits until the API
// shows that it knows.
func (s *site) store(key string, v any) {
	s.Helper()
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			s.Fatal(err)
		}
		text = string(b)
	}
	if _, err := s.etcd.Put(s.Context(), key, text); err != nil {
		s.Fatal(err)
	}
	s.settle()
}

// settle waits until the API has seen everything that was written: what it
// writes itself comes back to it after all that was there before.
func (s *site) settle() {
	s.Helper()
	s.put("definition", `{"id": "settle", "image": {"name": "settle"}}`)
	if a := s.call("DELETE", "/registry-svc/definition/settle", admin, ""); a.status != http.StatusOK {
		s.Fatalf("DELETE settle: %d %v", a.status, a.body)
	}
}

// record reads a record.
func (s *site) record(key string, into any) bool {
	s.Helper()
	resp, err := s.etcd.Get(s.Context(), key)
	if err != nil {
		s.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return false
	}
	if into != nil {
		if err := json.NewDecoder(bytes.NewReader(resp.Kvs[0].Value)).Decode(into); err != nil {
			s.Fatal(err)
		}
	}
	return true
}

// node registers a backend.
func (s *site) node(id, zone, region string) {
	s.Helper()
	s.store(state.BackendKey(id), state.Backend{
		ID: id, Hostname: "host-" + id, Zone: zone, Region: region, URL: "http://" + id + ":8889", DockerVersion: "20.10.24",
		Capacity: state.Capacity{CPUs: 4, MemoryMB: 8000, DiskMB: 1000}, Use: state.Use{CPUPercent: 25, MemoryMB: 2000, DiskMB: 100},
	})
}
