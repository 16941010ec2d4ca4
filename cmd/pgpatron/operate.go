package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

// operatorCommands are the operator's: thin clients of a broker's /admin.
func operatorCommands() []*cobra.Command {
	return []*cobra.Command{
		instancesCommand(), planCommand(), operationsCommand(), backendsCommand(),
		routersCommand(), replicasCommand(), caCommand(), eventsCommand(), topCommand(),
	}
}

// job is what an operator's command does: ask the broker, and return what it
// said, and how a person reads that.
type job func(ctx context.Context, site admin.Site, args []string) (any, func(w io.Writer), error)

// operatorCommand makes a command that asks a broker once.
func operatorCommand(use, short string, args cobra.PositionalArgs, do job) *cobra.Command {
	return brokerCommand(use, short, args, func(cmd *cobra.Command, site *admin.Client, format string, args []string) error {
		value, table, err := do(cmd.Context(), site, args)
		if err != nil {
			return err
		}
		return show(cmd.OutOrStdout(), format, value, table)
	})
}

// brokerCommand makes a command that has to do with a broker. format is "table"
// or "json".
func brokerCommand(use, short string, args cobra.PositionalArgs,
	do func(cmd *cobra.Command, site *admin.Client, format string, args []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args}
	s := newSettings(cmd.Flags())
	var url, format string
	var login state.Credentials
	add(s, "broker", &url, "http://127.0.0.1:8888", "URL of the broker", text)
	add(s, "admin-username", &login.Username, "admin", "the operator's username", text)
	add(s, "admin-password", &login.Password, "", "the operator's password; better in the environment than here", secret)
	addFormat(cmd, &format)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := s.load(""); err != nil {
			return err
		}
		if format != "table" && format != "json" {
			return fmt.Errorf("output: must be table or json, got %q", format)
		}
		site, err := admin.NewClient(url, login)
		if err != nil {
			return err
		}
		return do(cmd, site, format, args)
	}
	return cmd
}

// addFormat adds the flag that says how an answer is written.
func addFormat(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVarP(into, "output", "o", "table", "how the answer is written: table or json")
}

// show writes an answer as JSON or as a table.
func show(w io.Writer, format string, value any, table func(io.Writer)) error {
	if format == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(value)
	}
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(columns)
	return columns.Flush()
}

// row writes one line of a table; empty cells become dashes.
func row(w io.Writer, cells ...any) {
	for i, c := range cells {
		text := fmt.Sprint(c)
		if text == "" {
			text = "-"
		}
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, text)
	}
	fmt.Fprintln(w)
}
