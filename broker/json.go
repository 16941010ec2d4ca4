package broker

import (
	"bytes"
	"encoding/json"
	"errors"
)

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
