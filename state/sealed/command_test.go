package sealed_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/state/sealed"
)

// service writes a program that plays a key management service: it wraps by
// turning the text around.
func service(t *testing.T, script string) sealed.Command {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kms")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return sealed.Command{path, "--site=a"}
}

const turnAround = `[ "$1" = --site=a ] || exit 9
case $2 in
wrap) printf 'wrapped '; rev ;;
unwrap) sed 's/^wrapped //' | rev ;;
*) exit 8 ;;
esac
`

func TestKeysAreWrappedByACommand(t *testing.T) {
	f := keyFile(t, lineOf('a'))
	f.Command = service(t, turnAround)
	id, err := f.Add(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	plain, wrapped, _ := strings.Cut(strings.TrimSpace(string(content)), "\n")
	if plain+"\n" != lineOf('a') || !strings.HasPrefix(wrapped, id+":") {
		t.Errorf("the file has %q and %q", plain, wrapped)
	}
	if diff := cmp.Diff([]string{idOf('a'), id}, ids(open(t, f))); diff != "" {
		t.Error(diff)
	}
}

func TestCommandThatFails(t *testing.T) {
	f := keyFile(t, lineOf('a'))
	f.Command = service(t, turnAround)
	id, err := f.Add(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]string{
		"echo the secret >&2; exit 3":          "exit status 3",
		"true":                                 "wrote nothing",
		"echo no key":                          "something else than 64 hexadecimal digits",
		"printf %s " + lineOf('b'):             "wrote the key " + idOf('b'),
		"printenv PGPATRON_PASSWORD || exit 5": "exit status 5",
	} {
		t.Setenv("PGPATRON_PASSWORD", "the secret")
		f.Command = service(t, script)
		_, err := sealed.Open(t.Context(), f, nil)
		if err == nil {
			t.Errorf("%s: no error", script)
			continue
		}
		for _, want := range []string{want, id, f.Path, "record_key_file", f.Command[0]} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q tells what the command wrote", err)
		}
	}
}
