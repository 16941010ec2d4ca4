package osb

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"

	"github.com/pgpatron/pgpatron/state"
)

// Authenticate lets in who has one of the logins. It compares in constant time,
// and always with all of them.
func Authenticate(realm string, logins ...state.Credentials) func(http.Handler) http.Handler {
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
				Respond(w, http.StatusUnauthorized, "wrong username or password")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func digest(username, password string) [32]byte {
	return sha256.Sum256([]byte(username + "\x00" + password))
}
