package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Keys are AES-256 keys: the first one seals, each of them opens. They print as
// nothing.
type Keys []cipher.AEAD

// String hides the keys.
func (Keys) String() string { return "[redacted]" }

// GoString hides the keys.
func (Keys) GoString() string { return "[redacted]" }

// ReadKeys reads keys from a file: 64 hexadecimal digits in each line. With
// create it makes a file with one key, readable by its owner alone, if there is
// none.
func ReadKeys(path string, create bool) (Keys, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		b, err = makeFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("record_key_file: %w", err)
	}
	var keys Keys
	for line := range strings.FieldsSeq(string(b)) {
		raw, err := hex.DecodeString(line)
		if err != nil || len(raw) != 32 {
			return nil, fmt.Errorf("record_key_file: %s: want 64 hexadecimal digits in each line; make one with `openssl rand -hex 32`", path)
		}
		block, err := aes.NewCipher(raw)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		keys = append(keys, aead)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("record_key_file: %s holds no key", path)
	}
	return keys, nil
}

func makeFile(path string) ([]byte, error) {
	raw := make([]byte, 32)
	rand.Read(raw)
	text := []byte(hex.EncodeToString(raw) + "\n")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(text)
	return text, errors.Join(err, f.Close())
}

// mark begins what is sealed.
const mark = "sealed:"

// IsSealed reports whether a text is sealed, and so of no use as it is.
func IsSealed(text string) bool { return strings.HasPrefix(text, mark) }

// Seal closes a text for one place: Open opens it for that place alone. There must
// be a key.
func (k Keys) Seal(text, place string) string { return k.seal(text, place) }

// Open opens what Seal closed, and reports whether one of the keys could.
func (k Keys) Open(text, place string) (string, bool) {
	plain := k.open(text, place)
	return plain, !IsSealed(plain)
}

// seal closes a text for one place: it opens nowhere else.
func (k Keys) seal(text, place string) string {
	nonce := make([]byte, k[0].NonceSize())
	rand.Read(nonce)
	return mark + base64.StdEncoding.EncodeToString(k[0].Seal(nonce, nonce, []byte(text), []byte(place)))
}

// open opens what seal closed; what is not sealed, or not by these keys, stays
// as it is.
func (k Keys) open(text, place string) string {
	if !IsSealed(text) {
		return text
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, mark))
	if err != nil {
		return text
	}
	for _, aead := range k {
		n := aead.NonceSize()
		if len(raw) < n {
			return text
		}
		if plain, err := aead.Open(nil, raw[:n], raw[n:], []byte(place)); err == nil {
			return string(plain)
		}
	}
	return text
}
