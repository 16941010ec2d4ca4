package broker

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/pgpatron/pgpatron/state"
)

// target is what an instance's cluster is to be.
type target struct {
	plan        Plan
	nodes       int
	synchronous bool
	extensions  []string
	settings    map[string]string
	spec        state.NodeSpec
	actions
}

// actions are what an update is asked to do once. They bind nothing later.
type actions struct {
	// backends are exactly those that the nodes are to be on. nil: any.
	backends []string
	// moveOff is a backend that none is to stay on.
	moveOff    string
	switchover bool
	restart    bool
}

// newTarget returns what an instance of a plan with these parameters is to be,
// made from spec.
func newTarget(plan Plan, wanted parameters, spec state.NodeSpec) target {
	t := target{plan: plan, nodes: plan.Nodes, extensions: wanted.extensions, settings: map[string]string{}, spec: spec}
	if wanted.nodeCount != nil {
		t.nodes = *wanted.nodeCount
	}
	t.synchronous = t.nodes > 1 && (wanted.synchronous == nil || *wanted.synchronous)
	for name, value := range wanted.settings {
		if value != nil {
			t.settings[name] = *value
		}
	}
	return t
}

// parameters are what a user may say of an instance. nil: not said.
type parameters struct {
	nodeCount   *int
	synchronous *bool
	extensions  []string
	// global asks for a port that all sites of the federation agree on.
	global *bool
	// settings by name; nil: the default again.
	settings map[string]*string
	actions
	// raw is what was said, by name.
	raw map[string]json.RawMessage
}

// once are the parameters that are not kept: what they ask for is done once.
var once = []string{"backends", "move_off", "switchover", "restart"}

// parseProvisionParameters checks what a user says of a new instance.
func parseProvisionParameters(p Plan, raw json.RawMessage) (parameters, error) {
	return parseParameters(p, raw, provisionSchema(p))
}

// parseUpdateParameters checks what a user wants changed.
func parseUpdateParameters(p Plan, raw json.RawMessage) (parameters, error) {
	return parseParameters(p, raw, updateSchema(p))
}

// parseParameters checks a user's parameters. The schema says which the plan
// takes.
func parseParameters(p Plan, raw json.RawMessage, schema map[string]any) (parameters, error) {
	var out parameters
	given, err := parseObject(raw)
	if err != nil {
		return out, err
	}
	out.raw = given
	taken, _ := schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, ok := taken[name]; !ok {
			return out, unknownParameter(name, schema)
		}
		if err := out.parse(p, name, given[name]); err != nil {
			return out, err
		}
	}
	return out, nil
}

// parse takes in one parameter that the plan takes.
func (out *parameters) parse(p Plan, name string, raw json.RawMessage) (err error) {
	switch name {
	case "node_count":
		out.nodeCount, err = parseNodeCount(p, raw)
	case "synchronous":
		out.synchronous, err = parseBoolean(name, raw)
	case "global":
		out.global, err = parseBoolean(name, raw)
	case "extensions":
		out.extensions, err = parseExtensions(p, raw)
	case "settings":
		out.settings, err = parseSettings(p, raw)
	case "backends":
		out.backends, err = parseNames(name, raw)
		if err == nil && len(out.backends) == 0 {
			err = badRequest("parameter backends: must name at least one backend")
		}
	case "move_off":
		out.moveOff, err = parseName(name, raw)
	case "switchover":
		out.switchover, err = parseAction(name, raw)
	case "restart":
		out.restart, err = parseAction(name, raw)
	}
	return err
}

// merge returns the parameters that an instance has once a change is made:
// those of before, with what the change says of them, and without what is done
// only once.
func merge(before, change map[string]json.RawMessage) map[string]json.RawMessage {
	out := maps.Clone(before)
	if out == nil {
		out = map[string]json.RawMessage{}
	}
	for name, value := range change {
		if name == "settings" {
			value = mergeSettings(before[name], value)
		}
		out[name] = value
	}
	for _, name := range once {
		delete(out, name)
	}
	if string(out["settings"]) == "{}" {
		delete(out, "settings")
	}
	return out
}

// mergeSettings changes the settings that are named. null takes one back.
func mergeSettings(before, change json.RawMessage) json.RawMessage {
	settings, _ := parseObject(before)
	changes, _ := parseObject(change)
	out := map[string]json.RawMessage{}
	maps.Copy(out, settings)
	maps.Copy(out, changes)
	maps.DeleteFunc(out, func(_ string, value json.RawMessage) bool { return string(value) == "null" })
	merged, _ := json.Marshal(out)
	return merged
}

// forPlan leaves out of an instance's parameters what belongs to the plan that
// it had: how many nodes, and what a plan of one node does not take.
func forPlan(p Plan, given map[string]json.RawMessage) map[string]json.RawMessage {
	out := maps.Clone(given)
	delete(out, "node_count")
	if p.MaxNodes == 1 {
		delete(out, "synchronous")
	}
	return out
}

// encode spells parameters as they are kept: nothing for none.
func encode(given map[string]json.RawMessage) json.RawMessage {
	if len(given) == 0 {
		return nil
	}
	raw, _ := json.Marshal(given)
	return raw
}
