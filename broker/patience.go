package broker

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/pivotal-cf/brokerapi/v10/domain"
	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"

	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/state"
)

// asyncPatience is how long a request to bind or unbind waits for the database
// when the platform would rather poll.
const asyncPatience = 10 * time.Second

// waitForLogin waits until cond holds of a binding's record. A platform that
// polls is told to (async) when that takes too long.
func (b *Broker) waitForLogin(ctx context.Context, asyncAllowed bool, cond func() bool) (async bool, err error) {
	patience := b.cfg.BindTimeout
	if asyncAllowed {
		patience = min(patience, asyncPatience)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = b.engine.Await(ctx, cond)
	if asyncAllowed && errors.Is(err, context.DeadlineExceeded) {
		return true, nil
	}
	return false, err
}

// The operations that a platform may be told to poll. Each names the login that
// it is about: a binding that was deleted and made again has another.
const (
	bindOperation   = "bind-"
	unbindOperation = "unbind-"
)

// LastBindingOperation tells how far a binding's login is.
func (b *Broker) LastBindingOperation(ctx context.Context, instanceID, bindingID string, details domain.PollDetails) (domain.LastOperation, error) {
	found, exists, err := b.binding(ctx, instanceID, bindingID)
	if err != nil {
		return domain.LastOperation{}, b.translate(ctx, "fetching the last operation", err)
	}
	_, role, named := strings.Cut(details.OperationData, "-")
	unbinding := strings.HasPrefix(details.OperationData, unbindOperation)
	says := "login is " + string(found.State)
	switch {
	case !exists || named && role != found.Role:
		if unbinding {
			return domain.LastOperation{}, apiresponses.ErrBindingDoesNotExist
		}
		return domain.LastOperation{}, osb.Answer(http.StatusNotFound, "", "binding does not exist")
	case found.State.AtRest():
		return domain.LastOperation{State: domain.Succeeded, Description: says}, nil
	case found.State == state.BindingDeleting && named && !unbinding:
		return domain.LastOperation{State: domain.Failed, Description: says}, nil
	}
	osb.SetHeader(ctx, "Retry-After", retryAfter)
	return domain.LastOperation{State: domain.InProgress, Description: says}, nil
}
