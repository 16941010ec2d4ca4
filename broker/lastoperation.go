package broker

import (
	"context"
	"net/http"
	"strings"

	"github.com/pivotal-cf/brokerapi/v10/domain"
	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"

	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/state"
)

// retryAfter is how many seconds a platform should wait between polls.
const retryAfter = "2"

// LastOperation tells how far an operation is, in its journal's words: the one
// that the platform names, also if others came after it, or else the last.
func (b *Broker) LastOperation(ctx context.Context, instanceID string, details domain.PollDetails) (domain.LastOperation, error) {
	in, exists, err := b.instance(ctx, instanceID)
	if err != nil {
		return domain.LastOperation{}, b.translate(ctx, "fetching the last operation", err)
	}
	op, known := in.Operation, exists
	if details.OperationData != "" && exists {
		op, known = in.Find(details.OperationData)
	}
	if !known {
		return domain.LastOperation{}, unknownOperation(details.OperationData)
	}
	if op.Running() {
		osb.SetHeader(ctx, "Retry-After", retryAfter)
	}
	if op.State == state.Failed {
		tellUsable(ctx, op.InstanceUsable, op.UpdateRepeatable)
	}
	return domain.LastOperation{State: domain.LastOperationState(op.State), Description: op.Description}, nil
}

// unknownOperation answers a poll that finds no record. A deprovision that
// succeeded leaves none: its id begins with what it was.
func unknownOperation(id string) error {
	switch {
	case strings.HasPrefix(id, string(state.Deprovision)+"-"):
		return apiresponses.ErrInstanceDoesNotExist
	case id == "":
		return osb.Answer(http.StatusNotFound, "", "instance does not exist")
	}
	return osb.Answer(http.StatusNotFound, "", "operation %q is not known of this instance", id)
}

// tellUsable amends an answer about a failed update with whether the instance
// still serves, and whether the same update may be asked for again.
func tellUsable(ctx context.Context, usable, repeatable *bool) {
	if usable != nil {
		osb.SetField(ctx, "instance_usable", *usable)
	}
	if repeatable != nil {
		osb.SetField(ctx, "update_repeatable", *repeatable)
	}
}
