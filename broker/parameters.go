package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

func parseObject(raw json.RawMessage) (map[string]json.RawMessage, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(raw, &given); err != nil {
		return nil, badRequest("parameters: must be a JSON object")
	}
	return given, nil
}

func unknownParameter(name string, schema map[string]any) error {
	properties, _ := schema["properties"].(map[string]any)
	if len(properties) == 0 {
		return badRequest("unknown parameter %q: this plan takes none here", name)
	}
	var known []string
	for k := range properties {
		known = append(known, k)
	}
	slices.Sort(known)
	return badRequest("unknown parameter %q: this plan takes %s", name, strings.Join(known, ", "))
}

// sameJSON reports whether two JSON values mean the same; absent, null and {}
// do.
func sameJSON(a, b json.RawMessage) bool {
	x, errA := canonical(a)
	y, errB := canonical(b)
	return errors.Join(errA, errB) == nil && bytes.Equal(x, y)
}

func canonical(raw json.RawMessage) ([]byte, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return []byte("{}"), nil
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}
