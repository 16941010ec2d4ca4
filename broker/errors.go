package broker

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/broker/planner"
	"github.com/pgpatron/pgpatron/state"
)

// asAnswer makes answers of what the catalog and the planner refuse. Whoever lacks
// backends is told by translate alone: by then things may have been written.
func asAnswer(err error) error {
	if wrong, ok := errors.AsType[catalog.Refusal](err); ok {
		return osb.BadRequest("%s", wrong.Reason)
	}
	if impossible, ok := errors.AsType[planner.Impossible](err); ok {
		return osb.Answer(http.StatusUnprocessableEntity, "", "%s", impossible.Reason)
	}
	if newer, ok := errors.AsType[*state.TooNewError](err); ok {
		return osb.Answer(http.StatusServiceUnavailable, "", "%s", newer.Error())
	}
	if errors.Is(err, state.ErrReplaced) {
		return osb.Answer(http.StatusServiceUnavailable, "", "%s", state.ErrReplaced)
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
	if osb.IsAnswer(err) {
		return err
	}
	if few, ok := errors.AsType[planner.TooFewBackends](err); ok {
		return osb.BadRequest("%s", few.Error())
	}
	if errors.Is(err, state.ErrNoPort) {
		return osb.BadRequest("%s", err.Error())
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return osb.Answer(http.StatusServiceUnavailable, "", "%s was given up by the client", doing)
	}
	number := uuid.NewString()
	b.log.ErrorContext(ctx, "request failed", "doing", doing, "number", number, "err", err)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, state.ErrStopped) {
		return osb.Answer(http.StatusServiceUnavailable, "", "%s did not end in time; ask again, or see error %s in the broker's log", doing, number)
	}
	return osb.Answer(http.StatusInternalServerError, "", "%s failed: see error %s in the broker's log", doing, number)
}
