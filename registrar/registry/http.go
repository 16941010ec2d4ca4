package registry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/go-chi/chi/v5"
)

// maxBodyBytes bounds a request's body.
const maxBodyBytes = 1 << 20

// Problem is a refusal: how the API says no.
type Problem struct {
	// Status is HTTP's.
	Status int `json:"-"`
	// Text says what is wrong, Field which field of the request, if one is.
	Text  string `json:"error"`
	Field string `json:"field,omitempty"`
}

// Error returns the text.
func (p Problem) Error() string { return p.Text }

func notFound(kind, id string) Problem {
	return Problem{Status: http.StatusNotFound, Text: fmt.Sprintf("there is no %s '%s'", kind, id)}
}

func conflict(format string, args ...any) Problem {
	return Problem{Status: http.StatusConflict, Text: fmt.Sprintf(format, args...)}
}

// problemOf translates an error into a refusal.
func problemOf(err error) Problem {
	if p, ok := errors.AsType[Problem](err); ok {
		return p
	}
	if f, ok := errors.AsType[FieldError](err); ok {
		return Problem{Status: http.StatusBadRequest, Text: f.Error(), Field: f.Field}
	}
	return Problem{Status: http.StatusServiceUnavailable, Text: err.Error()}
}

func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	a.cfg.Log.DebugContext(r.Context(), "registry request refused", "method", r.Method, "path", r.URL.Path, "status", p.Status, "err", p.Text)
	send(w, p.Status, p)
}

func send(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that is gone needs no answer.
	_ = json.NewEncoder(w).Encode(body)
}

// pathID returns the id in the request's path, "" if it has none.
func pathID(r *http.Request) string {
	id := chi.URLParam(r, "id")
	if r.URL.RawPath == "" {
		return id
	}
	if plain, err := url.PathUnescape(id); err == nil {
		return plain
	}
	return id
}

// readBody decodes a request's body: the entity itself, or an object with the
// entity under its name.
func readBody(r *http.Request, name string, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBodyBytes))
	if err != nil {
		return FieldError{"body", fmt.Sprintf("must not be larger than %d bytes, and must arrive whole", maxBodyBytes)}
	}
	var envelope map[string]json.RawMessage
	if json.Unmarshal(body, &envelope) == nil && len(envelope) == 1 && envelope[name] != nil {
		body = envelope[name]
	}
	return strict(body, into)
}

// strict decodes exactly one JSON value that has no fields but into's.
func strict(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil && dec.More() {
		return FieldError{"body", "must be one JSON object"}
	}
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[FieldError](err); ok {
		return f
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return FieldError{sentField(wrong.Field), "must not be of type " + wrong.Value}
	}
	if _, field, unknown := strings.Cut(err.Error(), "unknown field "); unknown {
		return FieldError{strings.Trim(field, `"`), "there is no such field"}
	}
	return FieldError{"body", "is not one JSON object: " + err.Error()}
}

// sentField returns a field's path as it was sent: Go puts the names of
// embedded types into it, which are capital.
func sentField(path string) string {
	parts := slices.DeleteFunc(strings.Split(path, "."), func(part string) bool { return part == "" || unicode.IsUpper(rune(part[0])) })
	return cmp.Or(strings.Join(parts, "."), "body")
}

// adopt fills in the id that the path names, or checks it.
func adopt(into *string, r *http.Request) error {
	named := pathID(r)
	if named == "" || named == *into {
		return nil
	}
	if *into != "" {
		return FieldError{"id", fmt.Sprintf("is %q, the path says %q", *into, named)}
	}
	*into = named
	return nil
}
