package osb

import (
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// Audit writes a line for every request that changes something: who asked for
// what, as describe tells it, and what came of it.
func Audit(log *slog.Logger, describe func(*http.Request) []any) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				next.ServeHTTP(w, r)
				return
			}
			began := time.Now()
			seen := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
			next.ServeHTTP(seen, r)
			log.With(describe(r)...).InfoContext(r.Context(), "audit",
				"method", r.Method, "status", seen.Status(), "took", time.Since(began))
		})
	}
}

// platformRequest tells who asks for what through a platform.
func platformRequest(r *http.Request) []any {
	return []any{
		"instance", chi.URLParam(r, "instance_id"),
		"binding", chi.URLParam(r, "binding_id"),
		"who", originator(r.Header.Get("X-Broker-API-Originating-Identity")),
		"request", r.Header.Get("X-Broker-API-Request-Identity"),
	}
}

// originator reads who is behind a request: a platform's name and a JSON object
// in base64, of which the user's id and name are of interest. What cannot be
// read is no reason to refuse a request.
func originator(header string) string {
	platform, encoded, _ := strings.Cut(strings.TrimSpace(header), " ")
	if platform == "" {
		return ""
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	var user struct {
		UserID   string `json:"user_id"`
		Username string `json:"username"`
	}
	if err != nil || json.Unmarshal(raw, &user) != nil {
		return platform + ": unreadable"
	}
	return strings.TrimSpace(platform + ": " + user.UserID + " " + user.Username)
}
