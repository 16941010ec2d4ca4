package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pgpatron/pgpatron/broker/admin"
)

func backendsCommand() *cobra.Command {
	list := operatorCommand("backends", "List backends, or act on one", cobra.NoArgs,
		func(ctx context.Context, site admin.Site, _ []string) (any, func(io.Writer), error) {
			backends, err := site.Backends(ctx)
			return backends, func(w io.Writer) { backendTable(w, backends) }, err
		})
	list.AddCommand(
		operatorCommand("show BACKEND", "Show one backend", cobra.ExactArgs(1),
			func(ctx context.Context, site admin.Site, args []string) (any, func(io.Writer), error) {
				return backendAnswer(site.Backend(ctx, args[0]))
			}),
		cordonCommand("cordon BACKEND", "disable", "Keep new nodes and reads away from a backend", true),
		cordonCommand("uncordon BACKEND", "enable", "Let new nodes and reads come to a backend again", false),
		actCommand("drain BACKEND", "Cordon a backend and move its nodes to others",
			func(ctx context.Context, site admin.Site, id string, act admin.Act) (any, func(io.Writer), error) {
				return backendAnswer(site.Drain(ctx, id, act))
			}),
	)
	return list
}

// cordonCommand makes a command that throws the switch of a backend; alias is
// what other switches call that.
func cordonCommand(use, alias, short string, off bool) *cobra.Command {
	cmd := actCommand(use, short, func(ctx context.Context, site admin.Site, id string, act admin.Act) (any, func(io.Writer), error) {
		return backendAnswer(site.Cordon(ctx, id, off, act))
	})
	cmd.Aliases = []string{alias}
	return cmd
}

func backendAnswer(b admin.Backend, err error) (any, func(io.Writer), error) {
	return b, func(w io.Writer) { backendTable(w, []admin.Backend{b}) }, err
}

func backendTable(w io.Writer, backends []admin.Backend) {
	row(w, "BACKEND", "HOSTNAME", "ZONE", "STATUS", "CORDONED", "NODES", "LEADERS", "LAST SEEN", "DRAIN", "SINCE", "BY", "REASON")
	for _, b := range backends {
		drain := ""
		if b.Drain != nil {
			drain = fmt.Sprintf("%s, %d left", b.Drain.State, b.Drain.Left)
		}
		row(w, b.ID, b.Hostname, b.Zone, b.Status, b.Cordoned, b.Nodes, b.Leaders, when(b.LastSeen), drain, when(b.Since), b.By, b.Reason)
		if b.Drain == nil {
			continue
		}
		for _, id := range slices.Sorted(maps.Keys(b.Drain.Problems)) {
			row(w, "", "instance "+id+": "+b.Drain.Problems[id])
		}
	}
}
