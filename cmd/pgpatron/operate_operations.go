package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgpatron/pgpatron/broker/admin"
)

func operationsCommand() *cobra.Command {
	var f admin.Filter
	list := operatorCommand("operations", "List the last operation of each instance, or act on one", cobra.NoArgs,
		func(ctx context.Context, site admin.Site, _ []string) (any, func(io.Writer), error) {
			operations, err := site.Operations(ctx, f)
			return operations, func(w io.Writer) { operationTable(w, operations) }, err
		})
	addFilter(list, &f)
	list.AddCommand(
		operatorCommand("resume INSTANCE", "Try a failed operation again, from the step that failed", cobra.ExactArgs(1),
			func(ctx context.Context, site admin.Site, args []string) (any, func(io.Writer), error) {
				return operationAnswer(site.Resume(ctx, args[0]))
			}),
		operatorCommand("abandon INSTANCE", "End an operation where it is", cobra.ExactArgs(1),
			func(ctx context.Context, site admin.Site, args []string) (any, func(io.Writer), error) {
				return operationAnswer(site.Abandon(ctx, args[0]))
			}),
	)
	return list
}

func operationTable(w io.Writer, operations []admin.Operation) {
	row(w, "INSTANCE", "OPERATION", "STATE", "STEP", "SINCE", "DESCRIPTION")
	for _, op := range operations {
		step := ""
		if len(op.Steps) > 0 {
			step = fmt.Sprintf("%d/%d", op.Done, len(op.Steps))
		}
		row(w, op.InstanceID, op.Type, op.State, step, op.Started.Format(time.DateTime), op.Description)
	}
}

// operationLines tells one operation with its steps.
func operationLines(w io.Writer, op admin.Operation) {
	row(w, op.Type, op.State, op.Description)
	for i, s := range op.Steps {
		mark := " "
		if i < op.Done {
			mark = "✓"
		}
		row(w, fmt.Sprintf("%s %d", mark, i+1), s.Kind, s.Description)
	}
}

func operationAnswer(op admin.Operation, err error) (any, func(io.Writer), error) {
	return op, func(w io.Writer) { operationLines(w, op) }, err
}

func planCommand() *cobra.Command {
	var planID string
	var execute bool
	cmd := operatorCommand("plan INSTANCE [PARAMETERS]", "Show the steps that an update would take", cobra.RangeArgs(1, 2),
		func(ctx context.Context, site admin.Site, args []string) (any, func(io.Writer), error) {
			change := admin.Change{PlanID: planID}
			if len(args) > 1 {
				if !json.Valid([]byte(args[1])) {
					return nil, nil, errors.New(`parameters: must be a JSON object, such as {"node_count": 3}`)
				}
				change.Parameters = json.RawMessage(args[1])
			}
			return operationAnswer(site.Change(ctx, args[0], change, !execute))
		})
	cmd.Flags().StringVar(&planID, "plan-id", "", "the plan to change to")
	cmd.Flags().BoolVar(&execute, "execute", false, "do it")
	return cmd
}
