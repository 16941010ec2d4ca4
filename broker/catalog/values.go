package catalog

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// parseNodeCount reads how many nodes a user wants, within the plan's bounds.
func parseNodeCount(p Plan, raw json.RawMessage) (*int, error) {
	var count *int
	err := json.Unmarshal(raw, &count)
	if err != nil || count == nil || *count < p.MinNodes || *count > p.MaxNodes {
		return nil, Refuse("parameter node_count: plan %s takes an integer from %d to %d", p.Name, p.MinNodes, p.MaxNodes)
	}
	return count, nil
}

func parseBoolean(name string, raw json.RawMessage) (*bool, error) {
	var on *bool
	if json.Unmarshal(raw, &on) != nil || on == nil {
		return nil, Refuse("parameter %s: must be true or false", name)
	}
	return on, nil
}

// parseAction reads a request to do something: saying no asks for nothing.
func parseAction(name string, raw json.RawMessage) (bool, error) {
	on, err := parseBoolean(name, raw)
	return on != nil && *on, err
}

func parseName(name string, raw json.RawMessage) (string, error) {
	var text string
	if json.Unmarshal(raw, &text) != nil || text == "" {
		return "", Refuse("parameter %s: must be a string that is not empty", name)
	}
	return text, nil
}

// parseNames reads a list of names, and refuses one that stands there twice.
func parseNames(name string, raw json.RawMessage) ([]string, error) {
	var names []string
	if json.Unmarshal(raw, &names) != nil || names == nil || slices.Contains(names, "") {
		return nil, Refuse("parameter %s: must be a list of strings that are not empty", name)
	}
	slices.Sort(names)
	if len(slices.Compact(slices.Clone(names))) < len(names) {
		return nil, Refuse("parameter %s: names one twice", name)
	}
	return names, nil
}

func parseExtensions(p Plan, raw json.RawMessage) ([]string, error) {
	names, err := parseNames("extensions", raw)
	for _, name := range names {
		if !slices.Contains(p.Extensions, name) {
			return nil, Refuse("parameter extensions: plan %s does not have %q; it has %s", p.Name, name, strings.Join(p.Extensions, ", "))
		}
	}
	return names, err
}

// parseSettings reads settings by name; null asks for the default.
func parseSettings(p Plan, raw json.RawMessage) (map[string]*string, error) {
	given, err := ParseObject(raw)
	if err != nil || given == nil {
		return nil, Refuse("parameter settings: must be a JSON object")
	}
	out := map[string]*string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		setting, ok := p.setting(name)
		if !ok {
			return nil, Refuse("parameter settings.%s: can not be set; plan %s takes %s", name, p.Name, strings.Join(p.settingNames(), ", "))
		}
		if string(given[name]) == "null" {
			out[name] = nil
			continue
		}
		value, err := setting.parse(given[name])
		if err != nil {
			return nil, Refuse("parameter settings.%s: %s", name, err)
		}
		out[name] = &value
	}
	return out, nil
}

// settingNames lists the settings that users may change.
func (l Limits) settingNames() []string {
	var names []string
	for _, s := range l.Settings {
		names = append(names, s.Name)
	}
	return names
}
