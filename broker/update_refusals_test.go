package broker_test

import (
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/broker"
	"github.com/pgpatron/pgpatron/broker/catalog"
)

func TestUpdateRefusals(t *testing.T) {
	plans := catalog.DefaultPlans()
	plans = append(plans, catalog.Plan{ID: "fixed", Name: "fixed", Description: "d", Nodes: 1, MemoryMB: 512, MilliCPU: 1000, Limits: catalog.Limits{Fixed: true}})
	plans[2].Settings = []catalog.Setting{{Name: "jit", Type: "boolean"}}
	s := newSite(t, "b1", "b2")
	s.stop()
	s.config.Plans = plans
	s.start()
	s.provision("i", clusterPlan)
	s.done("i", s.set("i", "settings", map[string]any{"work_mem": "8MB"}))
	parameter := func(name string, value any) map[string]any {
		return map[string]any{"parameters": map[string]any{name: value}}
	}
	setting := func(name string, value any) map[string]any {
		return parameter("settings", map[string]any{name: value})
	}
	for name, test := range map[string]struct {
		body   map[string]any
		status int
		says   string
	}{
		"too many nodes":      {parameter("node_count", 6), 400, "node_count: plan cluster takes an integer from 2 to 5"},
		"no such count":       {parameter("node_count", 2.5), 400, "node_count"},
		"no backend is free":  {parameter("node_count", 3), 400, "not enough backends: 1 more node needs a healthy backend without a node of the instance, there are 0"},
		"too few named":       {parameter("backends", []string{"b1"}), 400, "names 1, and the instance is to have 2 nodes"},
		"named twice":         {parameter("backends", []string{"b1", "b1"}), 400, "names one twice"},
		"unknown backend":     {parameter("backends", []string{"b1", "b9"}), 400, `there is no backend \"b9\"`},
		"nowhere to move":     {parameter("move_off", "b1"), 400, "not enough backends"},
		"unknown to move off": {parameter("move_off", "b9"), 400, `there is no backend \"b9\"`},
		"unknown parameter":   {parameter("nodes", 3), 400, `unknown parameter \"nodes\"`},
		"unknown extension":   {parameter("extensions", []string{"plpython3u"}), 400, `does not have \"plpython3u\"`},
		"unknown setting":     {setting("fsync", "off"), 400, "settings.fsync: can not be set"},
		"setting too high":    {setting("work_mem", "1GB"), 400, "settings.work_mem: must be an amount of memory such as 64MB from 64kB to 256MB"},
		"setting's type":      {setting("max_connections", "many"), 400, "settings.max_connections: must be an integer from 20 to 1000"},
		"unknown plan":        {map[string]any{"plan_id": "nonsense"}, 400, "not in the catalog"},
		"fixed plan":          {map[string]any{"plan_id": "fixed"}, 422, "PlanChangeNotSupported"},
		"too few for plan":    {map[string]any{"plan_id": haPlan, "parameters": map[string]any{"settings": map[string]any{"work_mem": nil}}}, 400, "work_mem: can not be set"},
		"setting of the plan": {map[string]any{"plan_id": haPlan}, 422, "plan ha does not take what the instance has: parameter settings.work_mem"},
		"another service":     {map[string]any{"service_id": "else"}, 400, "service_id"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.patch("i", test.body)
			if r.status != test.status || !strings.Contains(r.body, test.says) {
				t.Errorf("got %d %s, want %d and %q", r.status, r.body, test.status, test.says)
			}
		})
	}
	s.want(s.patch("nothing", map[string]any{}), 404)
	s.want(s.patch("i", map[string]any{"context": map[string]any{"platform": "x"}, "previous_values": map[string]any{"plan_id": clusterPlan}}), 200)
	synchronous := s.call("PATCH", instancePath("i"), map[string]any{"service_id": broker.ServiceID, "parameters": map[string]any{"restart": true}})
	if s.want(synchronous, 422); !strings.Contains(synchronous.body, "AsyncRequired") {
		t.Errorf("got %s", synchronous.body)
	}
	if got := string(s.instance("i").Context); got != `{"platform":"x"}` {
		t.Errorf("context is %s", got)
	}
}
