package registry

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Role is what a token's bearer may do. Each may do what those before it may.
type Role int

// The roles.
const (
	// RoleView may read.
	RoleView Role = iota + 1
	// RoleEdit may change definitions, deployments and instances.
	RoleEdit
	// RoleAdmin may change nodes, and have files of a backend built.
	RoleAdmin
)

// String returns the role's name.
func (r Role) String() string {
	return map[Role]string{RoleView: "view", RoleEdit: "edit", RoleAdmin: "admin"}[r]
}

// caller is the bearer of a token.
type caller struct {
	Name string
	Role Role
}

// Tokens are the bearer tokens that are let in. They are kept as digests: what
// is compared takes equally long whatever a stranger sends.
type Tokens map[[sha256.Size]byte]caller

// leastToken is how long a token is at least.
const leastToken = 16

// ParseTokens reads a file of tokens: in each line a role (view, edit or
// admin), a token and, if wanted, a name for the log. Empty lines and those
// that begin with # are nothing.
func ParseTokens(text string) (Tokens, error) {
	tokens := Tokens{}
	var errs []error
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if err := tokens.add(fields); err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
		}
	}
	return tokens, errors.Join(append(errs, lines.Err())...)
}

func (t Tokens) add(fields []string) error {
	if len(fields) < 2 || len(fields) > 3 {
		return errors.New("want a role, a token and perhaps a name")
	}
	c := caller{Name: fields[0]}
	for _, role := range []Role{RoleView, RoleEdit, RoleAdmin} {
		if role.String() == fields[0] {
			c.Role = role
		}
	}
	if c.Role == 0 {
		return fmt.Errorf("no such role: %q; want view, edit or admin", fields[0])
	}
	if len(fields[1]) < leastToken {
		return fmt.Errorf("the token must have at least %d characters", leastToken)
	}
	if len(fields) == 3 {
		c.Name = fields[2]
	}
	digest := sha256.Sum256([]byte(fields[1]))
	if _, twice := t[digest]; twice {
		return errors.New("the token is there twice")
	}
	t[digest] = c
	return nil
}

// admit returns the request's caller, if it has the role.
func (t Tokens) admit(r *http.Request, role Role) (caller, error) {
	if len(t) == 0 {
		return caller{}, Problem{Status: http.StatusUnauthorized, Text: "nobody is let in: this registrar was given no tokens (registry_tokens_file)"}
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	c, known := t[sha256.Sum256([]byte(strings.TrimSpace(token)))]
	if !strings.EqualFold(scheme, "Bearer") || !known {
		return caller{}, Problem{Status: http.StatusUnauthorized, Text: "a bearer token is needed that is known here"}
	}
	if c.Role < role {
		return caller{}, Problem{Status: http.StatusForbidden, Text: fmt.Sprintf("this needs the role %s, the token has %s", role, c.Role)}
	}
	return c, nil
}

// callerKey is under which a request's context carries its caller.
type callerKey struct{}

func withCaller(ctx context.Context, c caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}
