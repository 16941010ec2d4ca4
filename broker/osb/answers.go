package osb

import (
	"fmt"
	"net/http"

	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"
)

// ErrConcurrency answers a request that another one stands in the way of.
// Clients compare it word for word.
var ErrConcurrency = Answer(http.StatusUnprocessableEntity, "ConcurrencyError",
	"The Service Broker does not support concurrent requests that mutate the same resource.")

// Answer is an error that reaches the client as it is.
func Answer(status int, key, format string, args ...any) error {
	action := key
	if action == "" {
		action = http.StatusText(status)
	}
	return apiresponses.NewFailureResponseBuilder(fmt.Errorf(format, args...), status, action).WithErrorKey(key).Build()
}

// BadRequest answers a request that is wrong in itself.
func BadRequest(format string, args ...any) error {
	return Answer(http.StatusBadRequest, "", format, args...)
}

// IsAnswer reports whether an error reaches the client as it is. brokerapi does
// not unwrap errors: neither does this.
func IsAnswer(err error) bool {
	_, ok := err.(*apiresponses.FailureResponse)
	return ok
}
