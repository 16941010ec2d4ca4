package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
)

// Error is what an operator is told. Its status is an HTTP one.
type Error struct {
	Status  int    `json:"-"`
	Message string `json:"error"`
}

// Errorf makes an Error.
func Errorf(status int, format string, args ...any) *Error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// NotFound says that there is no such thing.
func NotFound(kind, id string) *Error {
	return Errorf(http.StatusNotFound, "%s %q does not exist", kind, id)
}

// write answers a request with a value or an error.
func write(w http.ResponseWriter, r *http.Request, log *slog.Logger, status int, value any, err error) {
	if err != nil {
		told, ok := errors.AsType[*Error](err)
		if !ok {
			log.ErrorContext(r.Context(), "operator's request failed", "path", r.URL.Path, "err", err)
			told = Errorf(http.StatusInternalServerError, "%s %s failed: see the broker's log", r.Method, r.URL.Path)
		}
		status, value = told.Status, told
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that is gone needs no answer.
	_ = json.NewEncoder(w).Encode(value)
}
