package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// keySize is the length of a key: AES-256.
const keySize = 32

// Key is an AES-256 key. It prints as its id.
type Key struct {
	id   string
	raw  [keySize]byte
	aead cipher.AEAD
}

// NewKey returns the key of these 32 bytes.
func NewKey(raw [keySize]byte) Key {
	block, err := aes.NewCipher(raw[:])
	if err != nil {
		panic(err) // of another length than an array of 32 bytes can have
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // of another block than AES has
	}
	return Key{id: idOf(raw), raw: raw, aead: aead}
}

func randomKey() Key {
	var raw [keySize]byte
	rand.Read(raw[:])
	return NewKey(raw)
}

// idOf names a key without telling it.
func idOf(raw [keySize]byte) string {
	sum := sha256.Sum256(append([]byte("pgpatron key id "), raw[:]...))
	return hex.EncodeToString(sum[:4])
}

// ID names the key in records, logs and errors.
func (k Key) ID() string { return k.id }

// String hides the key.
func (k Key) String() string { return "[key " + k.id + "]" }

// GoString hides the key.
func (k Key) GoString() string { return k.String() }

// Derive returns 32 bytes that only who has the key can know, others for each
// purpose.
func (k Key) Derive(purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, k.raw[:], nil, purpose, keySize)
}

// hex spells the key.
func (k Key) hex() []byte { return []byte(hex.EncodeToString(k.raw[:])) }

var errNoKey = errors.New("want 64 hexadecimal digits in each line; make one with `openssl rand -hex 32`")

// parseKey reads what hex wrote.
func parseKey(text string) (Key, error) {
	var raw [keySize]byte
	b, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || copy(raw[:], b) != keySize || len(b) != keySize {
		return Key{}, errNoKey
	}
	return NewKey(raw), nil
}

// seal closes a secret for one place: it opens nowhere else.
func (k Key) seal(secret []byte, place string) []byte {
	nonce := make([]byte, k.aead.NonceSize())
	rand.Read(nonce)
	return k.aead.Seal(nonce, nonce, secret, []byte(place))
}

// open opens what seal closed.
func (k Key) open(sealed []byte, place string) ([]byte, error) {
	n := k.aead.NonceSize()
	if len(sealed) < n {
		return nil, errors.New("too short")
	}
	return k.aead.Open(nil, sealed[:n], sealed[n:], []byte(place))
}
