package state

import "log/slog"

// redacted stands wherever a Secret would be printed.
const redacted = "[redacted]"

// Secret is a password or another value that must not be read by chance. It
// prints as "[redacted]" with every verb and in every log; JSON carries it
// plain, because records need it. Reveal hands it out.
type Secret string

// Reveal returns the secret itself. Its callers send it where it belongs and
// nowhere else.
func (s Secret) Reveal() string { return string(s) }

// String hides the secret from fmt.
func (s Secret) String() string { return redacted }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return redacted }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Credentials are a login to PostgreSQL or to Patroni.
type Credentials struct {
	Username string `json:"username"`
	Password Secret `json:"password"`
	// SealedBy is the id of the key under which the password is sealed, as long as it
	// is: see package sealed.
	SealedBy string `json:"sealed_by,omitempty"`
}
