package catalog

import "fmt"

// Refusal says what is wrong with what a user asks for, in words for the user.
type Refusal struct{ Reason string }

// Refuse returns a Refusal.
func Refuse(format string, args ...any) error {
	return Refusal{Reason: fmt.Sprintf(format, args...)}
}

func (r Refusal) Error() string { return r.Reason }
