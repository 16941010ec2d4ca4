package registry_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/registrar/registry"
)

func TestChangedTokensCountAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("admin " + admin)
	file, err := registry.OpenTokenFile(path, fixtures.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	s := newSiteFor(t, file.Tokens)
	want := func(when, token string, status int) {
		t.Helper()
		if a := s.call("GET", "/registry-svc/nodes", token, ""); a.status != status {
			t.Errorf("%s: %d, want %d", when, a.status, status)
		}
	}
	want("at the start", admin, 200)
	want("at the start", viewer, 401)

	write("view " + viewer)
	want("taken out", admin, 401)
	want("put in", viewer, 200)

	write("view " + viewer + "\nroot " + admin)
	want("a file with a fault", viewer, 200)
	want("a file with a fault", admin, 401)

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want("no file", viewer, 200)

	write("admin " + admin)
	want("mended", admin, 200)
	want("mended", viewer, 401)
}

func TestTokenFileWithAFaultIsNotOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	if _, err := registry.OpenTokenFile(path, slog.Default()); err == nil {
		t.Error("a file that is missing was opened")
	}
	if err := os.WriteFile(path, []byte("view short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.OpenTokenFile(path, slog.Default()); err == nil {
		t.Error("a file with a fault was opened")
	}
}
