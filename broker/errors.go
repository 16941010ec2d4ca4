package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/uuid"
	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/broker/planner"
	"github.com/pgpatron/pgpatron/state"
)

// Answers that clients compare word for word.
var errConcurrency = answer(http.StatusUnprocessableEntity, "ConcurrencyError",
	"The Service Broker does not support concurrent requests that mutate the same resource.")

// answer is an error that reaches the client as it is.
func answer(status int, key, format string, args ...any) error {
	action := key
	if action == "" {
		action = http.StatusText(status)
	}
	return apiresponses.NewFailureResponseBuilder(fmt.Errorf(format, args...), status, action).WithErrorKey(key).Build()
}

func badRequest(format string, args ...any) error {
	return answer(http.StatusBadRequest, "", format, args...)
}

// isAnswer reports whether an error reaches the client as it is. brokerapi does
// not unwrap errors: neither does this.
func isAnswer(err error) bool {
	_, ok := err.(*apiresponses.FailureResponse)
	return ok
}

// asAnswer makes answers of what the catalog and the planner refuse. Whoever lacks
// backends is told by translate alone: by then things may have been written.
func asAnswer(err error) error {
	if wrong, ok := errors.AsType[catalog.Refusal](err); ok {
		return badRequest("%s", wrong.Reason)
	}
	if impossible, ok := errors.AsType[planner.Impossible](err); ok {
		return answer(http.StatusUnprocessableEntity, "", "%s", impossible.Reason)
	}
	return err
}

// translate turns any error into an answer. What the client can do nothing
// about is logged under a number, and the client is told the number.
func (b *Broker) translate(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	err = asAnswer(err)
	if isAnswer(err) {
		return err
	}
	if few, ok := errors.AsType[planner.TooFewBackends](err); ok {
		return badRequest("%s", few.Error())
	}
	if errors.Is(err, state.ErrNoPort) {
		return badRequest("%s", err.Error())
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return answer(http.StatusServiceUnavailable, "", "%s was given up by the client", doing)
	}
	number := uuid.NewString()
	b.log.ErrorContext(ctx, "request failed", "doing", doing, "number", number, "err", err)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, state.ErrStopped) {
		return answer(http.StatusServiceUnavailable, "", "%s did not end in time; ask again, or see error %s in the broker's log", doing, number)
	}
	return answer(http.StatusInternalServerError, "", "%s failed: see error %s in the broker's log", doing, number)
}
