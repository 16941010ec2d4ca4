package sealed

import (
	"encoding/json"
	"strings"

	"github.com/pgpatron/pgpatron/state"
)

// secretFields returns how the secrets of the record at a key are found: nil if it
// has none.
func secretFields(key string) func(record map[string]json.RawMessage, change func(text, field string) string) {
	switch {
	case fills(state.ClusterPattern, key):
		return eachPassword
	case fills(state.CertificatePattern, key):
		return privateKey
	}
	return nil
}

// fills reports whether a key is of a pattern.
func fills(pattern, key string) bool {
	wanted, got := strings.Split(pattern, "/"), strings.Split(key, "/")
	if len(wanted) != len(got) {
		return false
	}
	for i, segment := range wanted {
		if segment != got[i] && !strings.HasPrefix(segment, "{") {
			return false
		}
	}
	return true
}

func (k Keys) sealRecord(key string, value []byte) []byte {
	return eachSecret(key, value, func(text, place string) string {
		if text == "" || IsSealed(text) {
			return text
		}
		return k.seal(text, place)
	})
}

func (k Keys) openRecord(key string, value []byte) []byte {
	return eachSecret(key, value, k.open)
}

// eachSecret puts change's result in the place of each secret of a record. What is
// no record stays as it is.
func eachSecret(key string, value []byte, change func(text, place string) string) []byte {
	find := secretFields(key)
	if find == nil {
		return value
	}
	var record map[string]json.RawMessage
	if json.Unmarshal(value, &record) != nil {
		return value
	}
	find(record, func(text, field string) string { return change(text, key+" "+field) })
	out, err := json.Marshal(record)
	if err != nil {
		return value
	}
	return out
}

// eachPassword finds the passwords of a cluster's record.
func eachPassword(record map[string]json.RawMessage, change func(text, field string) string) {
	for name, raw := range record {
		var login map[string]any
		if !strings.HasSuffix(name, "_credentials") || json.Unmarshal(raw, &login) != nil {
			continue
		}
		text, ok := login["password"].(string)
		if !ok {
			continue
		}
		login["password"] = change(text, name)
		if changed, err := json.Marshal(login); err == nil {
			record[name] = changed
		}
	}
}

// privateKey finds the key of a certificate's record.
func privateKey(record map[string]json.RawMessage, change func(text, field string) string) {
	const name = "private_key"
	var text string
	if json.Unmarshal(record[name], &text) != nil {
		return
	}
	if changed, err := json.Marshal(change(text, name)); err == nil {
		record[name] = changed
	}
}
