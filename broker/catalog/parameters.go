package catalog

import (
	"encoding/json"
	"maps"
	"slices"
)

// Actions are what an update is asked to do once. They bind nothing later.
type Actions struct {
	// Backends are exactly those that the nodes are to be on. nil: any.
	Backends []string
	// MoveOff is a backend that none is to stay on.
	MoveOff string
	// Switchover asks for another leader.
	Switchover bool
	// Restart asks for every node to be restarted.
	Restart bool
}

// Parameters are what a user may say of an instance. nil: not said.
type Parameters struct {
	NodeCount   *int
	Synchronous *bool
	// Global asks for a port that all sites of the federation agree on.
	Global     *bool
	Extensions []string
	// Settings by name; nil: the default again.
	Settings map[string]*string
	Actions
	// Raw is what was said, by name.
	Raw map[string]json.RawMessage
}

// once are the parameters that are not kept: what they ask for is done once.
var once = []string{"backends", "move_off", "switchover", "restart"}

// ProvisionParameters checks what a user says of a new instance. The error is a
// Refusal.
func (p Plan) ProvisionParameters(raw json.RawMessage) (Parameters, error) {
	return p.parse(raw, p.ProvisionSchema())
}

// UpdateParameters checks what a user wants changed. The error is a Refusal.
func (p Plan) UpdateParameters(raw json.RawMessage) (Parameters, error) {
	return p.parse(raw, p.UpdateSchema())
}

// parse checks a user's parameters. The schema says which the plan takes.
func (p Plan) parse(raw json.RawMessage, schema map[string]any) (Parameters, error) {
	var out Parameters
	given, err := ParseObject(raw)
	if err != nil {
		return out, err
	}
	out.Raw = given
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
func (out *Parameters) parse(p Plan, name string, raw json.RawMessage) (err error) {
	switch name {
	case "node_count":
		out.NodeCount, err = parseNodeCount(p, raw)
	case "synchronous":
		out.Synchronous, err = parseBoolean(name, raw)
	case "global":
		out.Global, err = parseBoolean(name, raw)
	case "extensions":
		out.Extensions, err = parseExtensions(p, raw)
	case "settings":
		out.Settings, err = parseSettings(p, raw)
	case "backends":
		out.Backends, err = parseNames(name, raw)
		if err == nil && len(out.Backends) == 0 {
			err = Refuse("parameter backends: must name at least one backend")
		}
	case "move_off":
		out.MoveOff, err = parseName(name, raw)
	case "switchover":
		out.Switchover, err = parseAction(name, raw)
	case "restart":
		out.Restart, err = parseAction(name, raw)
	}
	return err
}

// Merge returns the parameters that an instance has once a change is made:
// those of before, with what the change says of them, and without what is done
// only once.
func Merge(before, change map[string]json.RawMessage) map[string]json.RawMessage {
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
	settings, _ := ParseObject(before)
	changes, _ := ParseObject(change)
	out := map[string]json.RawMessage{}
	maps.Copy(out, settings)
	maps.Copy(out, changes)
	maps.DeleteFunc(out, func(_ string, value json.RawMessage) bool { return string(value) == "null" })
	merged, _ := json.Marshal(out)
	return merged
}

// Inherited leaves out of an instance's parameters what belongs to the plan that
// it had: how many nodes, and what a plan of one node does not take.
func (p Plan) Inherited(given map[string]json.RawMessage) map[string]json.RawMessage {
	out := maps.Clone(given)
	delete(out, "node_count")
	if p.MaxNodes == 1 {
		delete(out, "synchronous")
	}
	return out
}

// Encode spells parameters as they are kept: nothing for none.
func Encode(given map[string]json.RawMessage) json.RawMessage {
	if len(given) == 0 {
		return nil
	}
	raw, _ := json.Marshal(given)
	return raw
}
