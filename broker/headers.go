package broker

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
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
			respond(w, http.StatusPreconditionFailed, "header X-Broker-API-Version: must be 2.x, got %q", version)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// tagCatalog gives the catalog an entity tag (RFC 9110, section 8.8.3), so that
// a platform need not read again what it knows.
func tagCatalog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != catalogPath {
			next.ServeHTTP(w, r)
			return
		}
		kept := &keptResponse{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(kept, r)
		tag := fmt.Sprintf(`"%x"`, sha256.Sum256(kept.body.Bytes()))
		w.Header().Set("ETag", tag)
		if kept.status == http.StatusOK && matches(r.Header.Get("If-None-Match"), tag) {
			w.Header().Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return
		}
		kept.send(kept.body.Bytes())
	})
}

// matches reports whether an If-None-Match header names the tag.
func matches(header, tag string) bool {
	tags := strings.Split(header, ",")
	return slices.ContainsFunc(tags, func(t string) bool {
		t = strings.TrimPrefix(strings.TrimSpace(t), "W/")
		return t == tag || t == "*"
	})
}
