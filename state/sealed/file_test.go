package sealed_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/state/sealed"
)

func ids(r *sealed.Ring) []string {
	var ids []string
	for _, k := range r.Keys() {
		ids = append(ids, k.ID())
	}
	return ids
}

func TestBrokenKeyFile(t *testing.T) {
	for content, want := range map[string]string{
		"": "holds no key", "short": "64 hexadecimal digits", strings.Repeat("zz", 32): "openssl rand -hex 32",
		"0123456789:": "ID:KEY", "01234567:AAAA": "key_command must name",
	} {
		_, err := sealed.Open(t.Context(), keyFile(t, content), nil)
		if err == nil || !strings.Contains(err.Error(), "record_key_file") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
	}
	missing := sealed.File{Setting: "record_key_file", Path: filepath.Join(t.TempDir(), "none")}
	if err := missing.Check(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestFileIsMadeOnceForItsOwnerAlone(t *testing.T) {
	f := sealed.File{Setting: "record_key_file", Path: filepath.Join(t.TempDir(), "record.key")}
	if err := f.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	made := ids(open(t, f))
	if info, err := os.Stat(f.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := f.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made, ids(open(t, f))); diff != "" {
		t.Error(diff)
	}
}

// A new key opens first, and seals when it is told to.
func TestKeyIsAddedAndUsed(t *testing.T) {
	f := keyFile(t, lineOf('a'))
	if err := os.Chmod(f.Path, 0o640); err != nil {
		t.Fatal(err)
	}
	id, err := f.Add(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{idOf('a'), id}, ids(open(t, f))); diff != "" {
		t.Error(diff)
	}
	if err := f.Prefer(id); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{id, idOf('a')}, ids(open(t, f))); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(f.Path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %v now (%v)", info.Mode(), err)
	}
	if err := f.Prefer("nobody"); err == nil || !strings.Contains(err.Error(), "has no key nobody") {
		t.Errorf("got %v", err)
	}
}
