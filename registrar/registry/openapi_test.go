package registry_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

// document is the API's description.
type document struct {
	testing.TB
	root map[string]any
}

func readDocument(t testing.TB) document {
	t.Helper()
	d := document{TB: t}
	if err := json.Unmarshal(registry.OpenAPI(), &d.root); err != nil {
		t.Fatal(err)
	}
	return d
}

// at returns what stands at a path of keys, references followed.
func (d document) at(from any, keys ...string) any {
	for _, key := range keys {
		m, _ := d.follow(from).(map[string]any)
		from = m[key]
	}
	return d.follow(from)
}

func (d document) follow(v any) any {
	m, _ := v.(map[string]any)
	ref, ok := m["$ref"].(string)
	if !ok {
		return v
	}
	return d.at(d.root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
}

// operations lists every method and path.
func (d document) operations() []string {
	var all []string
	for path, methods := range d.at(d.root, "paths").(map[string]any) {
		for method := range methods.(map[string]any) {
			all = append(all, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

// check reports where a value is not as its schema says. Properties that the
// schema does not name are wrong, too.
func (d document) check(where string, schema, v any) []string {
	s, _ := d.follow(schema).(map[string]any)
	var wrong []string
	if allowed, ok := s["enum"].([]any); ok && !slices.Contains(allowed, v) {
		wrong = append(wrong, fmt.Sprintf("%s is %v, not one of %v", where, v, allowed))
	}
	if choices, ok := s["oneOf"].([]any); ok {
		wrong = append(wrong, d.checkOne(where, choices, v)...)
	}
	switch v := v.(type) {
	case map[string]any:
		return append(wrong, d.checkObject(where, s, v)...)
	case []any:
		for i, item := range v {
			wrong = append(wrong, d.check(fmt.Sprintf("%s[%d]", where, i), s["items"], item)...)
		}
	}
	if is := kindOf(v); s["type"] != nil && s["type"] != is && !(s["type"] == "number" && is == "integer") {
		wrong = append(wrong, fmt.Sprintf("%s is of type %s, not %v", where, is, s["type"]))
	}
	return wrong
}

func (d document) checkOne(where string, choices []any, v any) []string {
	fitting := 0
	for _, choice := range choices {
		if len(d.checkRequired(where, choice.(map[string]any), v.(map[string]any))) == 0 {
			fitting++
		}
	}
	if fitting == 1 {
		return nil
	}
	return []string{fmt.Sprintf("%s fits %d of its choices", where, fitting)}
}

func (d document) checkRequired(where string, s, v map[string]any) []string {
	var wrong []string
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, there := v[name.(string)]; !there {
			wrong = append(wrong, where+" lacks "+name.(string))
		}
	}
	return wrong
}

func (d document) checkObject(where string, s, v map[string]any) []string {
	wrong := d.checkRequired(where, s, v)
	if s["type"] != "object" {
		wrong = append(wrong, where+" is an object")
	}
	properties, named := s["properties"].(map[string]any)
	for name, value := range v {
		schema, known := properties[name]
		switch {
		case known:
			wrong = append(wrong, d.check(where+"."+name, schema, value)...)
		case s["additionalProperties"] != nil:
			wrong = append(wrong, d.check(where+"."+name, s["additionalProperties"], value)...)
		case named:
			wrong = append(wrong, where+" has "+name+", which is not in the document")
		}
	}
	return wrong
}

func kindOf(v any) string {
	switch v := v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

// checkAnswer checks one answer against the document, and notes that it came.
func (d document) checkAnswer(operation, method string, a answer, seen map[string]bool) {
	d.Helper()
	_, path, _ := strings.Cut(operation, " ")
	response := d.at(d.root, "paths", path, strings.ToLower(method), "responses", fmt.Sprint(a.status))
	if response == nil {
		d.Errorf("%s answers %d, which the document does not have", operation, a.status)
		return
	}
	seen[fmt.Sprintf("%s %d", operation, a.status)] = true
	schema := d.at(response, "content", "application/json", "schema")
	for _, wrong := range d.check("body", schema, a.body) {
		d.Errorf("%s answers %d: %s", operation, a.status, wrong)
	}
}

func TestDocumentHasExactlyTheRoutes(t *testing.T) {
	s := newSite(t)
	var served []string
	err := chi.Walk(s.routes, func(method, path string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		served = append(served, method+" "+path)
		return nil
	})
	slices.Sort(served)
	documented := readDocument(t).operations()
	if err != nil || !slices.Equal(served, documented) {
		t.Errorf("served: %v %v\ndocumented: %v", served, err, documented)
	}
	a := s.call("GET", "/registry-svc/openapi.json", "", "")
	if a.status != 200 || a.body["openapi"] != "3.1.0" {
		t.Errorf("openapi.json: %d %v", a.status, a.body["openapi"])
	}
}

// request is one request of the tests below; {id} in the operation's path is
// replaced by id.
type request struct {
	operation, token, id, query, body string
}

func (s *site) ask(d document, seen map[string]bool, r request) {
	s.Helper()
	method, path, _ := strings.Cut(r.operation, " ")
	a := s.call(method, strings.ReplaceAll(path, "{id}", r.id)+r.query, r.token, r.body)
	d.checkAnswer(r.operation, method, a, seen)
}

// entities are whole ones of each kind, with every field.
var entities = map[string]string{
	"definition": `{"id": "d", "repository": {"url": "/src", "version": "1", "ports": [80]}, "apiSpecs": [{"url": "u", "metadata": {"a": "b"}}],
		"clients": [{"language": "Go", "url": "u"}], "envars": {"A": "1"}, "ports": [{"internal": 80, "host": 8080}], "scheme": "http", "path": "/x"}`,
	"deployment": `{"id": "d", "definitionId": "d", "name": "n", "description": "t", "slug": "s", "replicas": 2,
		"resources": {"cpu": "1", "memory": "1G"}, "strategy": {"type": "Recreate", "maxUnavailable": 1}, "targetRegions": ["eu"], "envars": {"A": "2"}}`,
	"instance": `{"id": "d", "url": "http://h:80/p", "slug": "s", "tags": ["t"], "deploymentId": "d"}`,
	"node":     `{"id": "n1", "cordoned": true}`,
}

// requests are ones that bring every documented answer of an operation but 503,
// in this order of methods.
func requests(operation string) []request {
	method, path, _ := strings.Cut(operation, " ")
	kind := strings.Split(path, "/")[2]
	ours, theirs := "d", map[string]string{"definition": "plan", "deployment": "db", "instance": "m1", "node": "n1"}[kind]
	if kind == "node" {
		ours = map[string]string{"PUT": "n1", "DELETE": "n4", "GET": "n1"}[method]
	}
	all := []request{{operation: operation, id: ours}}
	switch method {
	case "PUT":
		all = append(all, request{operation, viewer, ours, "", ""}, request{operation, admin, ours, "", `{"colour": "red"}`},
			request{operation, admin, ours, "", entities[kind]},
			request{operation, admin, theirs, "", strings.Replace(entities[kind], `"`+ours+`"`, `"`+theirs+`"`, 1)})
		if kind == "node" {
			all = append(all, request{operation, admin, "n9", "", `{"id": "n9"}`})
		}
	case "GET":
		for _, id := range []string{ours, theirs, "nothing"} {
			all = append(all, request{operation, viewer, id, "", ""})
		}
		all = append(all, request{operation, viewer, ours, "?colour=red", ""})
	case "DELETE":
		all = append(all, request{operation, viewer, ours, "", ""}, request{operation, admin, "nothing", "", ""},
			request{operation, admin, theirs, "", ""}, request{operation, admin, ours, "", ""})
	}
	return all
}

// inOrder sorts operations so that what one needs is there: what is put before
// what is got and deleted, deployments between definitions and what asks for
// them.
func inOrder(operations []string) []string {
	rank := func(operation string) int {
		method, path, _ := strings.Cut(operation, " ")
		kind := slices.IndexFunc([]string{"/definition", "/deployment", "/instance", "/node"}, func(k string) bool { return strings.Contains(path, k) })
		switch method {
		case "PUT":
			return kind
		case "GET":
			return 10
		}
		return 30 - kind
	}
	slices.SortStableFunc(operations, func(a, b string) int { return rank(a) - rank(b) })
	return operations
}

// TestAnswersAreAsDocumented brings every answer that the document knows, and
// finds each as it is described.
func TestAnswersAreAsDocumented(t *testing.T) {
	s := newSite(t)
	d := readDocument(t)
	seen := map[string]bool{}
	s.ask(d, seen, request{operation: "GET /registry-svc/node/self", token: viewer}) // it is not registered yet
	s.database()
	s.store(state.HostKey("n4"), state.Host{Backend: state.Backend{ID: "n4"}})
	for _, operation := range inOrder(d.operations()) {
		method, _, _ := strings.Cut(operation, " ")
		for _, r := range requests(operation) {
			if method == "DELETE" && r.token == admin && r.id != "nothing" {
				s.restore(r)
			}
			s.ask(d, seen, r)
		}
	}
	for _, operation := range d.operations() {
		for _, status := range d.statuses(operation) {
			if name := operation + " " + status; !seen[name] && status != "503" {
				t.Errorf("%s is documented and did not come", name)
			}
		}
	}
}

// restore puts back what an earlier deletion took: deployments have two paths.
func (s *site) restore(r request) {
	if strings.Contains(r.operation, "/deployment/") && r.id == "d" {
		s.put("deployment", entities["deployment"])
	}
}

func (d document) statuses(operation string) []string {
	method, path, _ := strings.Cut(operation, " ")
	return slices.Sorted(maps.Keys(d.at(d.root, "paths", path, strings.ToLower(method), "responses").(map[string]any)))
}

// Before etcd has been read nothing is told but that.
func TestNothingIsToldBeforeEtcdIsRead(t *testing.T) {
	t.Parallel()
	schema := state.NewSchema()
	tables := registry.NewTables(schema, "postgresql-brokerpatroni")
	engine, err := state.NewEngine(state.EngineConfig{Client: fixtures.Etcd(t), Schema: schema, Name: "registry", Log: fixtures.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := registry.ParseTokens(tokensFile)
	if err != nil {
		t.Fatal(err)
	}
	routes := registry.NewAPI(registry.Config{Self: "n1", Tokens: func() registry.Tokens { return tokens }, Log: fixtures.Log(t)}, engine, tables).Handler()
	s := &site{TB: t, server: httptest.NewServer(routes)}
	t.Cleanup(s.server.Close)
	d, seen := readDocument(t), map[string]bool{}
	for _, operation := range d.operations() {
		s.ask(d, seen, request{operation: operation, token: admin, id: "d"})
		if operation != "GET /registry-svc/openapi.json" && !seen[operation+" 503"] {
			t.Errorf("%s does not answer 503", operation)
		}
	}
}

// TestRequiredFieldsAreRequired leaves out each field that the document says is
// required of a request.
func TestRequiredFieldsAreRequired(t *testing.T) {
	s := newSite(t)
	s.node("n1", "z1", "eu")
	s.put("definition", entities["definition"])
	s.put("deployment", entities["deployment"])
	d := readDocument(t)
	for kind, text := range entities {
		schema := d.at(d.root, "components", "schemas", strings.ToUpper(kind[:1])+kind[1:]+"Request").(map[string]any)
		required, _ := schema["required"].([]any)
		if kind == "instance" {
			required = schema["anyOf"].([]any)[0].(map[string]any)["required"].([]any)
		}
		if len(required) == 0 {
			t.Errorf("the document requires nothing of a %s", kind)
		}
		for _, name := range required {
			var entity map[string]any
			if err := json.Unmarshal([]byte(text), &entity); err != nil {
				t.Fatal(err)
			}
			delete(entity, name.(string))
			body, err := json.Marshal(entity)
			if err != nil {
				t.Fatal(err)
			}
			s.refused(s.call("PUT", "/registry-svc/"+kind, admin, string(body)), 400, "must be set", name.(string))
		}
	}
}
