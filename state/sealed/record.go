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

// decode reads a text that is sealed.
func decode(text string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.TrimPrefix(text, mark))
}

// holder is a JSON object that holds one secret, and the id of the key that seals
// it, with whatever else stands there.
type holder struct {
	fields map[string]any
	// secret is the field's name.
	secret string
}

func (h holder) text(name string) string {
	text, _ := h.fields[name].(string)
	return text
}

// put puts a plain text, or none, in the place of the secret.
func (h holder) put(text string) {
	h.fields[h.secret] = text
	delete(h.fields, "sealed_by")
}

// close puts what is sealed in the place of the secret.
func (h holder) close(sealed []byte, by string) {
	h.fields[h.secret] = mark + base64.StdEncoding.EncodeToString(sealed)
	if by != "" {
		h.fields["sealed_by"] = by
	}
}

// seal closes the secret, if it is open.
func (r *Ring) seal(h holder, place string) {
	text := h.text(h.secret)
	if text == "" || IsSealed(text) {
		return
	}
	h.close(r.Seal(state.Secret(text), place))
}

// open opens the secret. One that is not sealed, or not under these keys, stays as
// it is.
func (r *Ring) open(h holder, place string) error {
	text := h.text(h.secret)
	if !IsSealed(text) {
		return nil
	}
	raw, err := decode(text)
	if err != nil {
		return err
	}
	plain, err := r.Open(raw, h.text("sealed_by"), place)
	if err != nil {
		return err
	}
	h.put(plain.Reveal())
	return nil
}

func (r *Ring) sealRecord(key string, value []byte) []byte { return eachSecret(key, value, r.seal) }

func (r *Ring) openRecord(key string, value []byte) []byte {
	return eachSecret(key, value, func(h holder, place string) {
		if err := r.open(h, place); err != nil {
			r.miss(h.text("sealed_by"), err)
		}
	})
}

// Bare returns a value without the secrets in it, if its key is that of a record
// which a wrapped client seals, and as it is otherwise.
func Bare(key string, value []byte) []byte {
	return eachSecret(key, value, func(h holder, _ string) { h.put("") })
}

// eachSecret has change change each secret of a record, and tells it the place.
// What is no record stays as it is.
func eachSecret(key string, value []byte, change func(h holder, place string)) []byte {
	switch {
	case isCluster(key):
		return eachPassword(key, value, change)
	case isCertificate(key):
		return thePrivateKey(key, value, change)
	}
	return value
}

// The records that a wrapped client seals. It is asked of every key that comes in.
var (
	isCluster     = state.Matcher(state.ClusterPattern)
	isCertificate = state.Matcher(state.CertificatePattern)
)

// eachPassword finds the passwords of a cluster's record.
func eachPassword(key string, value []byte, change func(h holder, place string)) []byte {
	var record map[string]json.RawMessage
	if json.Unmarshal(value, &record) != nil {
		return value
	}
	for name, raw := range record {
		var login map[string]any
		if !strings.HasSuffix(name, "_credentials") || json.Unmarshal(raw, &login) != nil || login == nil {
			continue
		}
		change(holder{login, "password"}, key+" "+name)
		if changed, err := json.Marshal(login); err == nil {
			record[name] = changed
		}
	}
	return encoded(record, value)
}

// thePrivateKey finds the key of a certificate's record.
func thePrivateKey(key string, value []byte, change func(h holder, place string)) []byte {
	var record map[string]any
	if json.Unmarshal(value, &record) != nil || record == nil {
		return value
	}
	const name = "private_key"
	change(holder{record, name}, key+" "+name)
	return encoded(record, value)
}

// encoded returns a record as JSON, or what it was.
func encoded(record any, was []byte) []byte {
	if out, err := json.Marshal(record); err == nil {
		return out
	}
	return was
}
