package broker

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
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

// catalogAnswer is the catalog as it is sent.
type catalogAnswer struct {
	tag  string
	body []byte
}

// tagCatalog gives the catalog an entity tag (RFC 9110, section 8.8.3), so that
// a platform need not read again what it knows. The catalog is the
// configuration's: it is made once.
func tagCatalog(next http.Handler) http.Handler {
	var made atomic.Pointer[catalogAnswer]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != catalogPath {
			next.ServeHTTP(w, r)
			return
		}
		answer := made.Load()
		if answer == nil {
			kept := &keptResponse{ResponseWriter: w, status: http.StatusOK}
			next.ServeHTTP(kept, r)
			if kept.status != http.StatusOK {
				kept.send(kept.body.Bytes())
				return
			}
			answer = &catalogAnswer{tag: fmt.Sprintf(`"%x"`, sha256.Sum256(kept.body.Bytes())), body: kept.body.Bytes()}
			made.Store(answer)
		}
		answer.send(w, r)
	})
}

// send answers with the catalog, or says that it has not changed.
func (a *catalogAnswer) send(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", a.tag)
	if matches(r.Header.Get("If-None-Match"), a.tag) {
		w.Header().Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// A client that is gone needs no answer.
	_, _ = w.Write(a.body)
}

// matches reports whether an If-None-Match header names the tag.
func matches(header, tag string) bool {
	tags := strings.Split(header, ",")
	return slices.ContainsFunc(tags, func(t string) bool {
		t = strings.TrimPrefix(strings.TrimSpace(t), "W/")
		return t == tag || t == "*"
	})
}
