package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/federation"
	"github.com/pgpatron/pgpatron/state"
)

// siteJob is what a command of the federation does: ask the site's federation
// process, and return what it said, and how a person reads that.
type siteJob func(ctx context.Context, site *federation.Client, args []string) (any, func(w io.Writer), error)

// siteCommand makes a command that asks the site's federation process. bind
// adds settings of its own, and may be nil.
func siteCommand(use, short string, args cobra.PositionalArgs, bind func(*settings), do siteJob) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args}
	s := newSettings(cmd.Flags())
	var dc, address, format string
	var files federation.Files
	addSite(s, &dc, &files)
	add(s, "federation", &address, "127.0.0.1:9610", "host:port of the site's federation process", hostPort)
	addFormat(cmd, &format)
	if bind != nil {
		bind(s)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := s.load(""); err != nil {
			return err
		}
		if format != "table" && format != "json" {
			return fmt.Errorf("output: must be table or json, got %q", format)
		}
		site, err := federation.NewClient(dc, address, files)
		if err != nil {
			return err
		}
		defer site.Close()
		value, table, err := do(cmd.Context(), site, args)
		if err != nil {
			return err
		}
		return show(cmd.OutOrStdout(), format, value, table)
	}
	return cmd
}

// federationCommands are the operator's commands for federations.
func federationCommands() []*cobra.Command {
	dc := &cobra.Command{Use: "dc", Short: "Show the federation of this site, or change who belongs to it"}
	dc.AddCommand(
		siteCommand("status", "Show where this site stands", cobra.NoArgs, nil, showStatus(statusTable)),
		siteCommand("list", "List the sites of the federation", cobra.NoArgs, nil, showStatus(memberTable)),
		addCommand(), leaveCommand(), evictCommand(),
		siteCommand("reset", "Make this site standalone after it was evicted; instances keep their ports", cobra.NoArgs, nil,
			func(ctx context.Context, site *federation.Client, _ []string) (any, func(io.Writer), error) {
				return statusAnswer(site.Reset(ctx))
			}),
	)
	gip := &cobra.Command{Use: "gip", Short: "Show the global ports of the federation, or move an instance with its port"}
	gip.AddCommand(siteCommand("list", "List the global ports", cobra.NoArgs, nil,
		func(ctx context.Context, site *federation.Client, _ []string) (any, func(io.Writer), error) {
			gips, err := site.GIPs(ctx)
			return gips, func(w io.Writer) { gipTable(w, gips) }, err
		}))
	forward := &cobra.Command{Use: "forward", Short: "What leads to instances that have moved"}
	forward.AddCommand(operatorCommand("stop INSTANCE", "End that an instance's port leads to the site that it has moved to, and forget the instance here", cobra.ExactArgs(1),
		func(ctx context.Context, site admin.Site, args []string) (any, func(io.Writer), error) {
			return operationAnswer(site.StopForwarding(ctx, args[0]))
		}))
	gip.AddCommand(forward, operatorCommand("move INSTANCE SITE", "Take an instance to another site, with its data, its logins and its port", cobra.ExactArgs(2),
		func(ctx context.Context, site admin.Site, args []string) (any, func(io.Writer), error) {
			return operationAnswer(site.Move(ctx, args[0], args[1]))
		}))
	return []*cobra.Command{dc, gip}
}

func addCommand() *cobra.Command {
	var token state.Secret
	return siteCommand("add NAME,IP,PORT", "Add a site to the federation of this one", cobra.ExactArgs(1),
		func(s *settings) {
			add(s, "join-token", &token, "", "the other site's join token; better in the environment than here", secret)
		},
		func(ctx context.Context, site *federation.Client, args []string) (any, func(io.Writer), error) {
			other, err := federation.ParseSite(args[0])
			if err != nil {
				return nil, nil, err
			}
			return statusAnswer(site.Add(ctx, other, token))
		})
}

func leaveCommand() *cobra.Command {
	var release bool
	return siteCommand("leave", "Have this site leave its federation", cobra.NoArgs,
		func(s *settings) {
			add(s, "release", &release, "false", "give up the global ports whose home this site is", boolean)
		},
		func(ctx context.Context, site *federation.Client, _ []string) (any, func(io.Writer), error) {
			return statusAnswer(site.Leave(ctx, release))
		})
}

func evictCommand() *cobra.Command {
	var force, release bool
	return siteCommand("evict NAME...", "Go on without sites that are dead: all other sites have to agree", cobra.MinimumNArgs(1),
		func(s *settings) {
			add(s, "force", &force, "false", "yes, the sites are dead: what they decided and told nobody is lost", boolean)
			add(s, "release", &release, "false", "give up the global ports whose home they are", boolean)
		},
		func(ctx context.Context, site *federation.Client, args []string) (any, func(io.Writer), error) {
			return statusAnswer(site.Evict(ctx, args, force, release))
		})
}

func showStatus(table func(io.Writer, federation.Status)) siteJob {
	return func(ctx context.Context, site *federation.Client, _ []string) (any, func(io.Writer), error) {
		status, err := site.Status(ctx)
		return status, func(w io.Writer) { table(w, status) }, err
	}
}

func statusAnswer(status federation.Status, err error) (any, func(io.Writer), error) {
	return status, func(w io.Writer) { statusTable(w, status) }, err
}

func statusTable(w io.Writer, s federation.Status) {
	row(w, "DC", "STATE", "FEDERATION", "EPOCH", "MEMBERS", "GLOBAL PORTS", "UNTOLD", "WAITS FOR")
	where, waits := string(s.State), ""
	if s.Self.Evicted > 0 {
		where = fmt.Sprintf("evicted at epoch %d", s.Self.Evicted)
	}
	if o := s.Overlay; o != nil {
		waits = fmt.Sprintf("%s by %s, at most %v", o.Proposal.Kind, o.Coordinator, o.Expires.Sub(s.Time).Round(time.Second))
	}
	row(w, s.Self.DC, where, s.Self.Federation, s.Self.Epoch, len(s.Self.Members), s.GIPs, strings.Join(s.Untold, ", "), waits)
}

func memberTable(w io.Writer, s federation.Status) {
	row(w, "DC", "ADDRESS", "KNOWS OF EPOCH")
	for _, m := range s.Self.Members {
		epoch := fmt.Sprint(s.Self.Epoch)
		for _, untold := range s.Untold {
			if strings.HasPrefix(untold+" ", m.DC+" ") {
				epoch = "not yet told of " + epoch
			}
		}
		row(w, m.DC, m.Address, epoch)
	}
}

func gipTable(w io.Writer, gips []federation.Reservation) {
	row(w, "PORT", "INSTANCE", "HOME")
	for _, g := range gips {
		row(w, g.Port, g.Instance, g.Home)
	}
}
