package broker

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
)

// authenticate lets the platform in: with its login, or with the one before it
// while that is being replaced. It compares in constant time, and always with
// both.
func (b *Broker) authenticate(next http.Handler) http.Handler {
	logins := [][32]byte{digest(b.cfg.Username, b.cfg.Password.Reveal())}
	if b.cfg.PreviousPassword != "" {
		logins = append(logins, digest(b.cfg.PreviousUsername, b.cfg.PreviousPassword.Reveal()))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		username, password, _ := r.BasicAuth()
		got := digest(username, password)
		right := 0
		for _, want := range logins {
			right |= subtle.ConstantTimeCompare(got[:], want[:])
		}
		if right != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="pgpatron broker"`)
			respond(w, http.StatusUnauthorized, "wrong username or password")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func digest(username, password string) [32]byte {
	return sha256.Sum256([]byte(username + "\x00" + password))
}

// validateLogins reports a previous login that is given by half.
func (c Config) validateLogins() []error {
	if (c.PreviousUsername == "") == (c.PreviousPassword == "") {
		return nil
	}
	return []error{errors.New("broker.previous_username, broker.previous_password: must be set both, or neither")}
}
