package broker

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/pgpatron/pgpatron/state"
)

// SealKey is the AES-256 key under which brokers keep the secrets of bindings
// in etcd. It prints as nothing.
type SealKey [32]byte

// String hides the key.
func (SealKey) String() string { return "[redacted]" }

// GoString hides the key.
func (SealKey) GoString() string { return "[redacted]" }

// ReadSealKey reads the key, 64 hexadecimal digits, from a file. With create it
// makes the file, readable by its owner alone, if there is none.
func ReadSealKey(path string, create bool) (SealKey, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		return createSealKey(path)
	}
	if err != nil {
		return SealKey{}, fmt.Errorf("reading seal key: %w", err)
	}
	var key SealKey
	text := strings.TrimSpace(string(b))
	if n, err := hex.Decode(key[:], []byte(text)); len(text) != 2*len(key) || err != nil || n != len(key) {
		return SealKey{}, fmt.Errorf("reading seal key %s: want %d hexadecimal digits; make one with `openssl rand -hex %d`", path, 2*len(key), len(key))
	}
	return key, nil
}

func createSealKey(path string) (SealKey, error) {
	var key SealKey
	rand.Read(key[:])
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return SealKey{}, fmt.Errorf("creating seal key: %w", err)
	}
	_, err = fmt.Fprintf(f, "%x\n", key[:])
	if err = errors.Join(err, f.Close()); err != nil {
		return SealKey{}, fmt.Errorf("creating seal key: %w", err)
	}
	return key, nil
}

// seal closes a secret for the record at key: it opens nowhere else.
func (k SealKey) seal(secret state.Secret, key string) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, []byte(secret.Reveal()), []byte(key)), nil
}

// open opens what seal closed.
func (k SealKey) open(sealed []byte, key string) (state.Secret, error) {
	aead, err := k.aead()
	if err != nil {
		return "", err
	}
	n := aead.NonceSize()
	if len(sealed) < n {
		return "", fmt.Errorf("opening the secret of %s: too short", key)
	}
	plain, err := aead.Open(nil, sealed[:n], sealed[n:], []byte(key))
	if err != nil {
		return "", fmt.Errorf("opening the secret of %s: sealed under another key, or changed", key)
	}
	return state.Secret(plain), nil
}

func (k SealKey) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
