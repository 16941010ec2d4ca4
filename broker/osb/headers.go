package osb

import (
	"net/http"
	"regexp"
)

// echoIdentity returns the id that the platform gave the request, whatever
// becomes of the request.
func echoIdentity(next http.Handler) http.Handler {
	const header = "X-Broker-API-Request-Identity"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get(header); id != "" {
			w.Header().Set(header, id)
		}
		next.ServeHTTP(w, r)
	})
}

var versionHeader = regexp.MustCompile(`^2\.\d+$`)

// checkVersion refuses clients of another major version of the API.
func checkVersion(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version := r.Header.Get("X-Broker-API-Version")
		if !versionHeader.MatchString(version) {
			Respond(w, http.StatusPreconditionFailed, "header X-Broker-API-Version: must be 2.x, got %q", version)
			return
		}
		next.ServeHTTP(w, r)
	})
}
