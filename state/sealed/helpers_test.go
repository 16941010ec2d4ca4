package sealed_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/state/sealed"
)

// key returns a key of 32 equal bytes, and the line by which a file has it.
func key(b byte) (k sealed.Key, line string) {
	raw := [32]byte([]byte(strings.Repeat(string(rune(b)), 32)))
	return sealed.NewKey(raw), hex.EncodeToString(raw[:]) + "\n"
}

func lineOf(b byte) string {
	_, line := key(b)
	return line
}

func idOf(b byte) string {
	k, _ := key(b)
	return k.ID()
}

// keyFile writes a file with these lines.
func keyFile(t *testing.T, lines ...string) sealed.File {
	t.Helper()
	f := sealed.File{Setting: "record_key_file", Path: filepath.Join(t.TempDir(), "record.key")}
	rewrite(t, f, lines...)
	return f
}

func rewrite(t *testing.T, f sealed.File, lines ...string) {
	t.Helper()
	if err := os.WriteFile(f.Path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, f sealed.File) *sealed.Ring {
	t.Helper()
	ring, err := sealed.Open(t.Context(), f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}
