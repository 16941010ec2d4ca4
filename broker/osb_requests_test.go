package broker_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/broker"
)

func TestRefusals(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	with := func(key string, value any) map[string]any {
		o := order(clusterPlan)
		o[key] = value
		return o
	}
	async := "?accepts_incomplete=true"
	for name, test := range map[string]struct {
		method, path string
		body         any
		status       int
		says         string
	}{
		"not asynchronous":     {"PUT", instancePath("x"), order(clusterPlan), 422, "AsyncRequired"},
		"too few backends":     {"PUT", instancePath("x") + async, order(haPlan), 400, "not enough backends: plan ha needs 3, 2 are healthy"},
		"unknown plan":         {"PUT", instancePath("x") + async, order("nonsense"), 400, "not in the catalog"},
		"unknown service":      {"PUT", instancePath("x") + async, with("service_id", "nonsense"), 400, "not in the catalog"},
		"malformed JSON":       {"PUT", instancePath("x") + async, `{"service_id":`, 400, "is not one JSON object"},
		"trailing junk":        {"PUT", instancePath("x") + async, `{} {}`, 400, "is not one JSON object"},
		"wrong type":           {"PUT", instancePath("x") + async, with("plan_id", 7), 400, "plan_id"},
		"unknown parameter":    {"PUT", instancePath("x") + async, with("parameters", map[string]any{"nodes": 3}), 400, `unknown parameter \"nodes\"`},
		"parameter's type":     {"PUT", instancePath("x") + async, with("parameters", map[string]any{"synchronous": "no"}), 400, "must be true or false"},
		"global, no boolean":   {"PUT", instancePath("x") + async, with("parameters", map[string]any{"global": "yes"}), 400, "parameter global: must be true or false"},
		"global, alone":        {"PUT", instancePath("x") + async, with("parameters", map[string]any{"global": true}), 409, "global ports need a federation"},
		"long id":              {"PUT", instancePath(strings.Repeat("x", 256)) + async, order(clusterPlan), 400, "longer than 255"},
		"control character":    {"PUT", "/v2/service_instances/a%00b" + async, order(clusterPlan), 400, "control characters"},
		"unknown instance":     {"GET", instancePath("x"), nil, 404, "does not exist"},
		"poll of nothing":      {"GET", instancePath("x") + "/last_operation", nil, 404, "does not exist"},
		"delete of nothing":    {"DELETE", instancePath("x") + ids(clusterPlan), nil, 410, ""},
		"bind to nothing":      {"PUT", bindingPath("x", "b"), order(clusterPlan), 404, "does not exist"},
		"unbind of nothing":    {"DELETE", bindingPath("x", "b") + ids(clusterPlan), nil, 410, ""},
		"no such path":         {"GET", "/v2/nonsense", nil, 404, "no such path"},
		"no service":           {"PUT", instancePath("x") + async, with("service_id", nil), 400, "service_id"},
		"no plan":              {"PUT", instancePath("x") + async, with("plan_id", ""), 400, "plan_id"},
		"no organization":      {"PUT", instancePath("x") + async, with("organization_guid", ""), 400, "organization_guid"},
		"no space":             {"PUT", instancePath("x") + async, with("space_guid", nil), 400, "space_guid"},
		"parameters a list":    {"PUT", instancePath("x") + async, with("parameters", []int{1}), 400, "parameters"},
		"context a string":     {"PUT", instancePath("x") + async, with("context", "c"), 400, "context"},
		"an array":             {"PUT", instancePath("x") + async, `[]`, 400, "array"},
		"nothing":              {"PUT", instancePath("x") + async, ``, 400, "is not one JSON object"},
		"null":                 {"PUT", instancePath("x") + async, `null`, 400, "service_id"},
		"maintenance a string": {"PUT", instancePath("x") + async, with("maintenance_info", "1"), 400, "maintenance_info"},
		"version a number":     {"PUT", instancePath("x") + async, with("maintenance_info", map[string]any{"version": 1}), 400, "maintenance_info.version"},
		"app a number":         {"PUT", bindingPath("x", "b"), with("bind_resource", map[string]any{"app_guid": 1}), 400, "bind_resource.app_guid"},
		"previous a list":      {"PATCH", instancePath("x") + async, with("previous_values", []int{}), 400, "previous_values"},
		"patch without ids":    {"PATCH", instancePath("x") + async, `{}`, 400, "service_id"},
		"patch of nothing":     {"PATCH", instancePath("x") + async, order(clusterPlan), 404, "does not exist"},
		"large context":        {"PUT", instancePath("x") + async, with("context", map[string]any{"x": strings.Repeat("x", 64<<10)}), 400, "context"},
		"long organization":    {"PUT", instancePath("x") + async, with("organization_guid", strings.Repeat("x", 256)), 400, "organization_guid: must not be longer than 255"},
		"control in a space":   {"PUT", instancePath("x") + async, with("space_guid", "a\x00b"), 400, "space_guid: must not hold control"},
		"long app":             {"PUT", bindingPath("x", "b"), with("bind_resource", map[string]any{"app_guid": strings.Repeat("x", 256)}), 400, "app_guid: must not be longer"},
		"predecessor empty":    {"PUT", bindingPath("x", "b"), with("predecessor_binding_id", ""), 400, "predecessor_binding_id"},
		"predecessor a number": {"PUT", bindingPath("x", "b"), with("predecessor_binding_id", 1), 400, "predecessor_binding_id"},
		"delete without ids":   {"DELETE", instancePath("x"), nil, 400, "service_id"},
		"delete without plan":  {"DELETE", instancePath("x") + "?service_id=" + broker.ServiceID, nil, 400, "plan_id"},
		"unbind without ids":   {"DELETE", bindingPath("x", "b"), nil, 400, "service_id"},
		"unbind without plan":  {"DELETE", bindingPath("x", "b") + "?service_id=" + broker.ServiceID, nil, 400, "plan_id"},
		"bind without ids":     {"PUT", bindingPath("x", "b"), `{}`, 400, "service_id"},
		"unknown bind field":   {"PUT", bindingPath("x", "b"), with("parameters", map[string]any{"role": "superuser"}), 400, `unknown parameter \"role\": this plan takes lifetime, read_only`},
		"unknown binding":      {"GET", bindingPath("x", "b"), nil, 404, "does not exist"},
		"poll of no binding":   {"GET", bindingPath("x", "b") + "/last_operation", nil, 404, "does not exist"},
		"empty id":             {"GET", "/v2/service_instances/", nil, 404, "no such path"},
		"not UTF-8":            {"GET", "/v2/service_instances/%ff", nil, 400, "instance_id: must be UTF-8"},
		"binding's id":         {"GET", instancePath("x") + "/service_bindings/a%0Ab", nil, 400, "binding_id"},
		"body over the size":   {"PUT", instancePath("x") + async, strings.Repeat(" ", 1<<20+1), 400, "larger"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.call(test.method, test.path, test.body)
			if r.status != test.status || !strings.Contains(r.body, test.says) {
				t.Errorf("got %d %s, want %d and %q", r.status, r.body, test.status, test.says)
			}
		})
	}
	if keys := s.keys(); len(keys) != 0 {
		t.Errorf("refused requests left %q", keys)
	}
}

// curl sends bodies as a form unless told otherwise.
func TestBodyIsReadWhateverItsType(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.contentType = "application/x-www-form-urlencoded"
	s.provision("i1", singlePlan)
	body := map[string]any{"service_id": broker.ServiceID, "plan_id": singlePlan}
	s.want(s.call("PUT", bindingPath("i1", "b1"), body), http.StatusCreated)
}
