package sealed

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/pgpatron/pgpatron/state"
)

// mark begins what is sealed.
const mark = "sealed:"

// IsSealed reports whether a text is sealed, and so of no use as it is.
func IsSealed(text string) bool { return strings.HasPrefix(text, mark) }

// isRecord reports whether a key is of a cluster's record.
func isRecord(key string) bool {
	before, after, _ := strings.Cut(state.ClusterPattern, "{id}")
	id, ok := strings.CutPrefix(key, before)
	id, isState := strings.CutSuffix(id, after)
	return ok && isState && !strings.Contains(id, "/")
}

// login is a state.Credentials, with whatever else stands there.
type login map[string]any

func (l login) text(name string) string {
	text, _ := l[name].(string)
	return text
}

// close puts a sealed password in the place of what is there.
func (l login) close(sealed []byte, by string) {
	l["password"] = mark + base64.StdEncoding.EncodeToString(sealed)
	if by != "" {
		l["sealed_by"] = by
	}
}

// decode reads a text that is sealed.
func decode(text string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.TrimPrefix(text, mark))
}

// seal closes the password, if it is open.
func (r *Ring) seal(l login, place string) {
	text := l.text("password")
	if text == "" || IsSealed(text) {
		return
	}
	l.close(r.Seal(state.Secret(text), place))
}

// open opens the password. One that is not sealed, or not under these keys, stays
// as it is.
func (r *Ring) open(l login, place string) error {
	text := l.text("password")
	if !IsSealed(text) {
		return nil
	}
	raw, err := decode(text)
	if err != nil {
		return err
	}
	plain, err := r.Open(raw, l.text("sealed_by"), place)
	if err != nil {
		return err
	}
	l["password"] = plain.Reveal()
	delete(l, "sealed_by")
	return nil
}

func (r *Ring) sealRecord(key string, value []byte) []byte {
	if !isRecord(key) {
		return value
	}
	return eachLogin(key, value, r.seal)
}

func (r *Ring) openRecord(key string, value []byte) []byte {
	if !isRecord(key) {
		return value
	}
	return eachLogin(key, value, func(l login, place string) {
		if err := r.open(l, place); err != nil {
			r.miss(l.text("sealed_by"), err)
		}
	})
}

// eachLogin has change change each login of a record, and tells it the place.
// What is no record stays as it is.
func eachLogin(key string, value []byte, change func(l login, place string)) []byte {
	var record map[string]json.RawMessage
	if json.Unmarshal(value, &record) != nil {
		return value
	}
	for name, raw := range record {
		var l login
		if !strings.HasSuffix(name, "_credentials") || json.Unmarshal(raw, &l) != nil || l == nil {
			continue
		}
		change(l, key+" "+name)
		if changed, err := json.Marshal(l); err == nil {
			record[name] = changed
		}
	}
	out, err := json.Marshal(record)
	if err != nil {
		return value
	}
	return out
}
