package broker

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"

	"github.com/pgpatron/pgpatron/state"
)

// platformLogins are the platform's login and the one before it, while that is
// being replaced.
func (c Config) platformLogins() []state.Credentials {
	logins := []state.Credentials{{Username: c.Username, Password: c.Password}}
	if c.PreviousPassword != "" {
		logins = append(logins, state.Credentials{Username: c.PreviousUsername, Password: c.PreviousPassword})
	}
	return logins
}

// authenticate lets in who has one of the logins. It compares in constant time,
// and always with all of them.
func authenticate(realm string, logins ...state.Credentials) func(http.Handler) http.Handler {
	var wanted [][32]byte
	for _, l := range logins {
		wanted = append(wanted, digest(l.Username, l.Password.Reveal()))
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			username, password, _ := r.BasicAuth()
			got := digest(username, password)
			right := 0
			for _, want := range wanted {
				right |= subtle.ConstantTimeCompare(got[:], want[:])
			}
			if right != 1 {
				w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q", realm))
				respond(w, http.StatusUnauthorized, "wrong username or password")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func digest(username, password string) [32]byte {
	return sha256.Sum256([]byte(username + "\x00" + password))
}

// validateLogins reports logins that are given by half, and an operator's that
// is the platform's.
func (c Config) validateLogins() []error {
	var errs []error
	if (c.PreviousUsername == "") != (c.PreviousPassword == "") {
		errs = append(errs, errors.New("broker.previous_username, broker.previous_password: must be set both, or neither"))
	}
	if (c.AdminUsername == "") != (c.AdminPassword == "") {
		errs = append(errs, errors.New("broker.admin_username, broker.admin_password: must be set both, or neither"))
	}
	if c.AdminPassword != "" && c.AdminPassword == c.Password {
		errs = append(errs, errors.New("broker.admin_password: must not be the platform's password"))
	}
	return errs
}
