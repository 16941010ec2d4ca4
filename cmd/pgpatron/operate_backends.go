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
		backendCommand("show BACKEND", "Show one backend", admin.Site.Backend),
		backendCommand("cordon BACKEND", "Keep new nodes away from a backend", func(s admin.Site, ctx context.Context, id string) (admin.Backend, error) {
			return s.Cordon(ctx, id, true)
		}),
		backendCommand("uncordon BACKEND", "Let new nodes come to a backend again", func(s admin.Site, ctx context.Context, id string) (admin.Backend, error) {
			return s.Cordon(ctx, id, false)
		}),
		backendCommand("drain BACKEND", "Cordon a backend and move its nodes to others", admin.Site.Drain),
	)
	return list
}

// backendCommand makes a command about one backend.
func backendCommand(use, short string, ask func(s admin.Site, ctx context.Context, id string) (admin.Backend, error)) *cobra.Command {
	return operatorCommand(use, short, cobra.ExactArgs(1),
		func(ctx context.Context, site admin.Site, args []string) (any, func(io.Writer), error) {
			b, err := ask(site, ctx, args[0])
			return b, func(w io.Writer) { backendTable(w, []admin.Backend{b}) }, err
		})
}

func backendTable(w io.Writer, backends []admin.Backend) {
	row(w, "BACKEND", "HOSTNAME", "ZONE", "STATUS", "CORDONED", "NODES", "LEADERS", "DRAIN")
	for _, b := range backends {
		drain := ""
		if b.Drain != nil {
			drain = fmt.Sprintf("%s, %d left", b.Drain.State, b.Drain.Left)
		}
		row(w, b.ID, b.Hostname, b.Zone, b.Status, b.Cordoned, b.Nodes, b.Leaders, drain)
		if b.Drain == nil {
			continue
		}
		for _, id := range slices.Sorted(maps.Keys(b.Drain.Problems)) {
			row(w, "", "instance "+id+": "+b.Drain.Problems[id])
		}
	}
}
