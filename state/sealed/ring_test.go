package sealed_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state/sealed"
)

func TestSecretOpensOnlyWhereItWasClosed(t *testing.T) {
	a, _ := key('a')
	b, _ := key('b')
	ring := sealed.NewRing(a)
	closed, by := ring.Seal("secret", "/a")
	if got, err := ring.Open(closed, by, "/a"); err != nil || got.Reveal() != "secret" {
		t.Errorf("opened as %q (%v)", got.Reveal(), err)
	}
	if got, err := ring.Open(closed, "", "/a"); err != nil || got.Reveal() != "secret" {
		t.Errorf("opened without the key's name as %q (%v)", got.Reveal(), err)
	}
	if _, err := ring.Open(closed, by, "/b"); err == nil {
		t.Error("the secret of one record opens in another")
	}
	if _, err := sealed.NewRing(b).Open(closed, "", "/a"); err == nil {
		t.Error("another key opens the secret")
	}
}

func TestMissingKeyIsNamedWithWhereItWasLookedFor(t *testing.T) {
	a, _ := key('a')
	closed, by := sealed.NewRing(a).Seal("correct horse", "/a")
	file := keyFile(t, lineOf('b'))
	_, err := open(t, file).Open(closed, by, "/a")
	missing, ok := errors.AsType[*sealed.MissingKeyError](err)
	if !ok || missing.Key != idOf('a') {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{idOf('a'), idOf('b'), "record_key_file", file.Path} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

// Whatever prints a ring, a key or a file in use prints no key.
func TestKeysPrintAsTheirNames(t *testing.T) {
	a, line := key('a')
	ring := open(t, keyFile(t, line))
	for _, v := range []any{a, ring, ring.Keys(), []any{a}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			got := fmt.Sprintf(verb, v)
			if strings.Contains(got, strings.TrimSpace(line)) || strings.Contains(got, "0x61, 0x61") || strings.Contains(got, "97 97") || strings.Contains(got, "aaaa") {
				t.Errorf("%s of %T prints %s", verb, v, got)
			}
		}
	}
}

// A ring follows its file, and keeps what it has while that has a fault.
func TestRingFollowsItsFile(t *testing.T) {
	file := keyFile(t, lineOf('a'))
	ring := open(t, file)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ring.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	closed, by := ring.Seal("secret", "/a")

	rewrite(t, file, "broken")
	rewrite(t, file, lineOf('b'), lineOf('a'))
	await(t, func() bool { return ring.Keys()[0].ID() == idOf('b') })
	if _, err := ring.Open(closed, by, "/a"); err != nil {
		t.Error(err)
	}
	if _, by := ring.Seal("secret", "/a"); by != idOf('b') {
		t.Errorf("sealed under %s", by)
	}
	if err := os.Remove(file.Path); err != nil {
		t.Fatal(err)
	}
	rewrite(t, file, lineOf('c'))
	await(t, func() bool { return ring.Keys()[0].ID() == idOf('c') })
	if _, err := ring.Open(closed, by, "/a"); err == nil {
		t.Error("a key that is taken out still opens")
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(fixtures.Patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come about")
		}
	}
}
