package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pgpatron/pgpatron/broker/admin"
)

func instancesCommand() *cobra.Command {
	var f admin.Filter
	list := operatorCommand("instances", "List instances, or act on one", cobra.NoArgs,
		func(ctx context.Context, site admin.Site, _ []string) (any, func(io.Writer), error) {
			instances, err := site.Instances(ctx, f)
			return instances, func(w io.Writer) { instanceTable(w, instances) }, err
		})
	addFilter(list, &f)
	list.AddCommand(showInstanceCommand(), recreateCommand(), rotateCommand())
	return list
}

// addFilter adds the flags that choose instances.
func addFilter(cmd *cobra.Command, f *admin.Filter) {
	cmd.Flags().StringVar(&f.Plan, "plan", "", "only those of this plan, by name or id")
	cmd.Flags().StringVar(&f.Backend, "backend", "", "only those with a node on this backend")
	cmd.Flags().StringVar(&f.State, "state", "", `only those whose last operation is in this state, such as "in progress"`)
}

func instanceTable(w io.Writer, instances []admin.Instance) {
	row(w, "INSTANCE", "PLAN", "PORT", "NODES", "LEADER ON", "BINDINGS", "OPERATION", "STATE")
	for _, in := range instances {
		running, leader := 0, ""
		for _, n := range in.Nodes {
			if n.State == "running" || n.Streaming {
				running++
			}
			if n.ID == in.Leader {
				leader = n.Backend
			}
		}
		row(w, in.ID, in.Plan, in.Port, fmt.Sprintf("%d/%d", running, len(in.Nodes)), leader, in.Bindings, in.Operation.Type, in.Operation.State)
	}
}

func showInstanceCommand() *cobra.Command {
	return operatorCommand("show INSTANCE", "Show one instance with its nodes", cobra.ExactArgs(1),
		func(ctx context.Context, site admin.Site, args []string) (any, func(io.Writer), error) {
			in, err := site.Instance(ctx, args[0])
			return in, func(w io.Writer) {
				instanceTable(w, []admin.Instance{in})
				fmt.Fprintln(w)
				row(w, "NODE", "BACKEND", "ZONE", "ROLE", "STATE", "STREAMING", "TIMELINE", "CONTAINER", "DETAILS")
				for _, n := range in.Nodes {
					row(w, n.ID, n.Backend, n.Zone, n.Role, n.State, n.Streaming, n.Timeline, n.Phase, n.Details)
				}
				fmt.Fprintln(w)
				operationLines(w, in.Operation)
			}, err
		})
}

func recreateCommand() *cobra.Command {
	var lose bool
	cmd := operatorCommand("recreate INSTANCE", "Make an instance anew, empty, with its port and its logins", cobra.ExactArgs(1),
		func(ctx context.Context, site admin.Site, args []string) (any, func(io.Writer), error) {
			if !lose {
				return nil, nil, errors.New("an instance that is made anew is empty: say --lose-data if that is meant")
			}
			return operationAnswer(site.Recreate(ctx, args[0]))
		})
	cmd.Flags().BoolVar(&lose, "lose-data", false, "yes, what the instance holds is to be lost")
	return cmd
}
