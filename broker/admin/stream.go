package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"
)

// ErrEnded says that the connection to a broker that was followed has ended.
var ErrEnded = errors.New("the broker is followed no longer")

// writeTimeout is how long a client that follows may take nothing.
const writeTimeout = 30 * time.Second

// respond answers with what there is or, with follow=true, with that and all
// that comes: each value is a line of JSON.
func respond[T, One any](h handler, w http.ResponseWriter, r *http.Request, refusal error,
	find func(ctx context.Context) (One, error), following func(ctx context.Context) iter.Seq2[T, error]) {
	wanted, err := flag(r, "follow")
	switch err := errors.Join(refusal, err); {
	case err != nil:
		write(w, r, h.log, 0, nil, err)
	case wanted:
		stream(w, r, following(r.Context()))
	default:
		value, err := find(r.Context())
		write(w, r, h.log, http.StatusOK, value, err)
	}
}

// stream sends values as they come, until the client or the broker goes: an
// error can only end what has begun.
func stream[T any](w http.ResponseWriter, r *http.Request, values iter.Seq2[T, error]) {
	control := http.NewResponseController(w)
	// The server bounds how long a request may take to arrive, and would take that
	// for the time in which its client has to have said something.
	_ = control.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy is not to hold lines back
	if control.Flush() != nil {
		return
	}
	lines := json.NewEncoder(w)
	for value, err := range values {
		if err != nil {
			return
		}
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		if lines.Encode(value) != nil || control.Flush() != nil {
			return
		}
	}
}

// follow asks for values and yields them as they come. It ends with ctx; an
// error is a refusal, which is an Error, or ErrEnded.
func follow[T any](ctx context.Context, c *Client, path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		resp, err := c.send(ctx, c.endless, http.MethodGet, path, nil)
		if err != nil {
			yield(none, err)
			return
		}
		defer resp.Body.Close()
		for lines := json.NewDecoder(resp.Body); ; {
			var value T
			if err := lines.Decode(&value); err != nil {
				if ctx.Err() == nil {
					yield(none, fmt.Errorf("%w: %w", ErrEnded, err))
				}
				return
			}
			if !yield(value, nil) {
				return
			}
		}
	}
}
