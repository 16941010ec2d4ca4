package catalog

import (
	"encoding/json"
	"slices"
	"strings"
)

// ParseObject reads parameters by name. None, and null, are nil.
func ParseObject(raw json.RawMessage) (map[string]json.RawMessage, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(raw, &given); err != nil {
		return nil, Refuse("parameters: must be a JSON object")
	}
	return given, nil
}

func unknownParameter(name string, schema map[string]any) error {
	properties, _ := schema["properties"].(map[string]any)
	if len(properties) == 0 {
		return Refuse("unknown parameter %q: this plan takes none here", name)
	}
	var known []string
	for k := range properties {
		known = append(known, k)
	}
	slices.Sort(known)
	return Refuse("unknown parameter %q: this plan takes %s", name, strings.Join(known, ", "))
}
