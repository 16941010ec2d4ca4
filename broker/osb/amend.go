package osb

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
)

// amendments are what the broker's methods, which see only a context, add to
// the response: headers and fields of which brokerapi v10 knows nothing.
type amendments struct {
	header http.Header
	fields map[string]any
}

type amendmentsKey struct{}

// amend lets the broker's methods amend the response.
func amend(log *slog.Logger) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler { return amending(log, next) }
}

func amending(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &amendments{header: w.Header(), fields: map[string]any{}}
		kept := &keptResponse{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(kept, r.WithContext(context.WithValue(r.Context(), amendmentsKey{}, a)))
		body, err := a.apply(kept.body.Bytes())
		if err != nil {
			log.ErrorContext(r.Context(), "request failed", "err", err)
			Respond(w, http.StatusInternalServerError, "the answer can not be told: see the broker's log")
			return
		}
		kept.send(body)
	})
}

// SetHeader sets a header of the response to the request of ctx.
func SetHeader(ctx context.Context, name, value string) {
	if a, ok := ctx.Value(amendmentsKey{}).(*amendments); ok {
		a.header.Set(name, value)
	}
}

// SetField sets a field of the JSON object that answers the request of ctx.
func SetField(ctx context.Context, name string, value any) {
	if a, ok := ctx.Value(amendmentsKey{}).(*amendments); ok {
		a.fields[name] = value
	}
}

// apply returns the body with the fields in it.
func (a *amendments) apply(body []byte) ([]byte, error) {
	if len(a.fields) == 0 {
		return body, nil
	}
	object := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&object); err != nil {
		return nil, fmt.Errorf("amending the response: %w", err)
	}
	maps.Copy(object, a.fields)
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(object)
	return out.Bytes(), err
}

// keptResponse keeps a response instead of sending it.
type keptResponse struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (k *keptResponse) WriteHeader(status int) { k.status = status }

func (k *keptResponse) Write(b []byte) (int, error) { return k.body.Write(b) }

// send sends the response with another body.
func (k *keptResponse) send(body []byte) {
	k.ResponseWriter.WriteHeader(k.status)
	// A client that is gone needs no answer.
	_, _ = k.ResponseWriter.Write(body)
}
