package sealed

import (
	"encoding/json"
	"strings"

	"github.com/pgpatron/pgpatron/state"
)

// isRecord reports whether a key is of a cluster's record.
func isRecord(key string) bool {
	before, after, _ := strings.Cut(state.ClusterPattern, "{id}")
	id, ok := strings.CutPrefix(key, before)
	id, isState := strings.CutSuffix(id, after)
	return ok && isState && !strings.Contains(id, "/")
}

func (k Keys) sealRecord(key string, value []byte) []byte {
	return eachPassword(key, value, func(text, place string) string {
		if text == "" || IsSealed(text) {
			return text
		}
		return k.seal(text, place)
	})
}

func (k Keys) openRecord(key string, value []byte) []byte {
	return eachPassword(key, value, k.open)
}

// Bare returns a value without the passwords in it, if key is that of a cluster's
// record, and as it is otherwise.
func Bare(key string, value []byte) []byte {
	return eachPassword(key, value, func(_, _ string) string { return "" })
}

// eachPassword puts change's result in the place of each password of a record. What
// is no record stays as it is.
func eachPassword(key string, value []byte, change func(text, place string) string) []byte {
	if !isRecord(key) {
		return value
	}
	var record map[string]json.RawMessage
	if json.Unmarshal(value, &record) != nil {
		return value
	}
	for name, raw := range record {
		var login map[string]any
		if !strings.HasSuffix(name, "_credentials") || json.Unmarshal(raw, &login) != nil {
			continue
		}
		text, ok := login["password"].(string)
		if !ok {
			continue
		}
		login["password"] = change(text, key+" "+name)
		if changed, err := json.Marshal(login); err == nil {
			record[name] = changed
		}
	}
	out, err := json.Marshal(record)
	if err != nil {
		return value
	}
	return out
}
