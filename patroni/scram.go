package patroni

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// scramIterations is what PostgreSQL itself takes (scram_iterations).
const scramIterations = 4096

// SCRAMVerifier returns what PostgreSQL stores of a password: given as
// PASSWORD '…' in CREATE ROLE or ALTER ROLE, it lets the password log in while
// the server, and so its log, never sees it. The verifier holds only letters,
// digits and +/=$:- and can stand between quotes as it is.
//
// Passwords must be of printable ASCII, as generated ones are: for all others
// SCRAM prepares the password first (SASLprep, RFC 4013), which this does not.
func SCRAMVerifier(password string) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	return scramVerifier(password, salt)
}

// scramVerifier follows RFC 5802, section 3, for SCRAM-SHA-256 (RFC 7677).
func scramVerifier(password string, salt []byte) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, scramIterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("deriving a SCRAM key: %w", err)
	}
	stored := sha256.Sum256(sign(salted, "Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s",
		scramIterations, encode(salt), encode(stored[:]), encode(sign(salted, "Server Key"))), nil
}

// verifies reports whether a verifier is that of a password. One that is not of
// this kind is of none.
func verifies(verifier, password string) bool {
	parts := strings.FieldsFunc(verifier, func(r rune) bool { return r == '$' || r == ':' })
	if len(parts) != 5 {
		return false
	}
	salt, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return false
	}
	want, err := scramVerifier(password, salt)
	return err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(verifier)) == 1
}

func sign(key []byte, message string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(message))
	return mac.Sum(nil)
}

// checkPassword refuses what SASLprep would change and what a line of pgpass
// could not carry. It does not quote the password.
func checkPassword(password string) error {
	if password == "" {
		return errors.New("must be set")
	}
	for _, c := range []byte(password) {
		if c <= ' ' || c > '~' {
			return errors.New("must be of printable ASCII without spaces")
		}
	}
	return nil
}
