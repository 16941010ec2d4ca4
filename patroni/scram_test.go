package patroni_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/patroni"
)

func TestSCRAMVerifier(t *testing.T) {
	// The password and salt of RFC 7677, section 3, as PostgreSQL stores them.
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	const want = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	got, err := patroni.SCRAMVerifierWithSalt("pencil", salt)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSCRAMVerifierIsSalted(t *testing.T) {
	one, err := patroni.SCRAMVerifier("pencil")
	if err != nil {
		t.Fatal(err)
	}
	other, err := patroni.SCRAMVerifier("pencil")
	if err != nil {
		t.Fatal(err)
	}
	if one == other || strings.ContainsAny(one, `'\ `) {
		t.Errorf("got %s and %s, want two that differ and need no escaping", one, other)
	}
}

func TestSCRAMVerifierRefuses(t *testing.T) {
	for _, password := range []string{"", "mot de passe", "pässword", "tab\t", "\x00"} {
		got, err := patroni.SCRAMVerifier(password)
		if err == nil || got != "" {
			t.Errorf("%q: got %q and error %v, want only an error", password, got, err)
		}
		if err != nil && password != "" && strings.Contains(err.Error(), password) {
			t.Errorf("error quotes the password: %v", err)
		}
	}
}
