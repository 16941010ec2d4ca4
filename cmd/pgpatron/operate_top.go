package main

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pgpatron/pgpatron/broker/admin"
)

// topClusters is how many clusters are shown where nobody says how many.
const topClusters = 100

func topCommand() *cobra.Command {
	var limit int
	cmd := brokerCommand("top", "Show clusters, routers and backends as they change; with -o json once, as they are", cobra.NoArgs,
		func(cmd *cobra.Command, site *admin.Client, format string, _ []string) error {
			if limit < 0 {
				return fmt.Errorf("limit: must not be negative, got %d", limit)
			}
			if format == "json" {
				top, err := site.Top(cmd.Context(), limit)
				if err != nil {
					return err
				}
				return show(cmd.OutOrStdout(), format, top, nil)
			}
			if !cmd.Flags().Changed("limit") {
				limit = topClusters
			}
			screen := newScreen(cmd.OutOrStdout())
			begin := func() iter.Seq2[admin.Top, error] { return site.FollowTop(cmd.Context(), limit) }
			return persist(cmd.Context(), cmd.ErrOrStderr(), begin, func(top admin.Top) error {
				return screen.draw(topText(top))
			})
		})
	cmd.Flags().IntVar(&limit, "limit", 0, fmt.Sprintf("at most so many clusters, those in trouble first; 0: all; default: all with -o json, else %d", topClusters))
	return cmd
}

// topText tells how a site is.
func topText(top admin.Top) string {
	var text bytes.Buffer
	fmt.Fprintf(&text, "clusters %d, without a leader %d, routers %d, backends %d\n", top.Instances, top.Leaderless, len(top.Routers), len(top.Backends))
	for _, table := range []func(io.Writer){
		func(w io.Writer) { clusterTable(w, top.Clusters) },
		func(w io.Writer) { routerTable(w, top.Routers) },
		func(w io.Writer) { backendTable(w, top.Backends) },
	} {
		fmt.Fprintln(&text)
		columns := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
		table(columns)
		columns.Flush()
	}
	if n := top.Instances - len(top.Clusters); n > 0 {
		fmt.Fprintf(&text, "\n%d more clusters\n", n)
	}
	return text.String()
}

func clusterTable(w io.Writer, clusters []admin.Cluster) {
	row(w, "INSTANCE", "PLAN", "PORT", "LEADER", "ON", "REPLICAS", "LAG", "LAST FAILOVER", "SWITCHES", "OPERATION")
	for _, c := range clusters {
		row(w, c.ID, c.Plan, c.Port, c.Leader, c.LeaderBackend, fmt.Sprintf("%d/%d", c.Streaming, c.Replicas), lagText(c.Lag),
			when(c.Failover), switchesText(c.Disabled), c.Operation)
	}
}

// switchesText tells which nodes of a cluster are switched off.
func switchesText(disabled []admin.Replica) string {
	var parts []string
	for _, r := range disabled {
		parts = append(parts, r.Node+" "+r.Status())
	}
	return strings.Join(parts, ", ")
}
