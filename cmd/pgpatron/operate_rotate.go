package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

func rotateCommand() *cobra.Command {
	var all bool
	var f admin.Filter
	cmd := brokerCommand("rotate [INSTANCE…]", "Replace the passwords that clusters have of their own, while they serve", cobra.ArbitraryArgs,
		func(cmd *cobra.Command, site *admin.Client, format string, ids []string) error {
			switch {
			case all == (len(ids) > 0):
				return errors.New("name instances, or say --all")
			case all:
				instances, err := site.Instances(cmd.Context(), f)
				if err != nil {
					return err
				}
				for _, in := range instances {
					ids = append(ids, in.ID)
				}
			}
			done, err := rotation{site: site, progress: cmd.ErrOrStderr()}.all(cmd.Context(), ids)
			return errors.Join(show(cmd.OutOrStdout(), format, done, func(w io.Writer) { operationTable(w, done) }), err)
		})
	cmd.Flags().BoolVar(&all, "all", false, "every instance, one after the other")
	addFilter(cmd, &f)
	return cmd
}

// rotation replaces passwords and tells how far it is.
type rotation struct {
	site     admin.Site
	progress io.Writer
}

// all goes through instances, one after the other. One that fails does not keep the
// others waiting.
func (r rotation) all(ctx context.Context, ids []string) (done []admin.Operation, err error) {
	var errs []error
	for _, id := range ids {
		op, err := r.one(ctx, id)
		if err != nil {
			errs = append(errs, fmt.Errorf("instance %q: %w", id, err))
			continue
		}
		done = append(done, op)
	}
	return done, errors.Join(errs...)
}

// one returns when the passwords of one instance are others.
func (r rotation) one(ctx context.Context, id string) (admin.Operation, error) {
	began, err := r.site.Rotate(ctx, id)
	if err != nil {
		return began, err
	}
	op := began
	for told := ""; ctx.Err() == nil; {
		if op.Description != told {
			told = op.Description
			fmt.Fprintf(r.progress, "%s: %s\n", id, told)
		}
		switch state.OperationState(op.State) {
		case state.Succeeded:
			return op, nil
		case state.Failed:
			return op, errors.New(op.Description)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
			if op, err = r.look(ctx, id, op); err != nil {
				return op, err
			}
		}
	}
	return op, ctx.Err()
}

// look returns how far an operation is by now. A broker that does not answer is asked
// again: another one, or the next, goes on.
func (r rotation) look(ctx context.Context, id string, op admin.Operation) (admin.Operation, error) {
	in, err := r.site.Instance(ctx, id)
	refused, isRefusal := errors.AsType[*admin.Error](err)
	switch {
	case isRefusal && refused.Status < 500:
		return op, err
	case err != nil:
		fmt.Fprintf(r.progress, "%s: %v; asking again\n", id, err)
	case in.Operation.ID == op.ID:
		return in.Operation, nil
	case in.Operation.Started.After(op.Started):
		return op, fmt.Errorf("ended by the operation %s", in.Operation.Type)
	}
	return op, nil
}
