package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state/sealed"
)

func sealCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Look after the keys that seal secrets in etcd",
		Long: `Looks after the keys in record_key_file and seal_key_file, which seal the passwords of clusters and of bindings
in etcd. Takes the settings of a broker: run it on a broker's host, with --config and the broker's environment.`,
	}
	cmd.AddCommand(
		sealFileCommand("new-key (clusters|bindings)", "Add a key to a file; it opens, and seals nothing until it is used",
			cobra.ExactArgs(1), func(ctx context.Context, file sealed.File, _ []string) (string, error) { return file.Add(ctx) }),
		sealFileCommand("use (clusters|bindings) KEY", "Have a key of a file seal from now on, by its id",
			cobra.ExactArgs(2), func(_ context.Context, file sealed.File, args []string) (string, error) {
				return args[0], file.Prefer(args[0])
			}),
		sealRecordsCommand("status", "Count the records by the key that they are sealed under", sealed.Holding.Count),
		sealRecordsCommand("rotate", "Seal every record anew under the key in use, and count them", sealed.Holding.Rotate),
	)
	return cmd
}

// sealCommandOf makes a command with the settings of a broker.
func sealCommandOf(use, short string, args cobra.PositionalArgs, do func(cmd *cobra.Command, b *brokerSettings, args []string) error) *cobra.Command {
	var b brokerSettings
	var file string
	cmd := &cobra.Command{Use: use, Short: short, Args: args}
	s := newSettings(cmd.Flags())
	b.bind(s)
	cmd.Flags().StringVar(&file, "config", "", "the broker's configuration")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := errors.Join(s.load(file), b.etcd.Validate(), b.records.check(), b.bindings.check(b.records.command)); err != nil {
			return fmt.Errorf("configuration:\n%w", err)
		}
		return do(cmd, &b, args)
	}
	return cmd
}

// sealFileCommand makes a command that changes a file of keys.
func sealFileCommand(use, short string, args cobra.PositionalArgs, change func(ctx context.Context, file sealed.File, args []string) (string, error)) *cobra.Command {
	return sealCommandOf(use, short, args, func(cmd *cobra.Command, b *brokerSettings, args []string) error {
		file, ok := map[string]sealed.File{"clusters": b.records.file(), "bindings": b.bindings.file(b.records.command)}[args[0]]
		if !ok {
			return fmt.Errorf("%s: must be clusters or bindings", args[0])
		}
		if file.Path == "" {
			return fmt.Errorf("%s: is not set", file.Setting)
		}
		id, err := change(cmd.Context(), file, args[1:])
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: key %s is in %s: copy it to every host that has this file\n", file.Setting, id, file.Path)
		}
		return err
	})
}

// sealRecordsCommand makes a command that has to do with what is sealed.
func sealRecordsCommand(use, short string, do func(sealed.Holding, context.Context, *clientv3.Client) (sealed.Count, error)) *cobra.Command {
	var format string
	cmd := sealCommandOf(use, short, cobra.NoArgs, func(cmd *cobra.Command, b *brokerSettings, _ []string) error {
		client, err := connect(cmd.Context(), b.etcd)
		if err != nil {
			return err
		}
		defer client.Close()
		holdings, err := b.holdings(cmd.Context())
		if err != nil {
			return err
		}
		var uses []keyUse
		for _, h := range holdings {
			count, err := do(h, cmd.Context(), client)
			if err != nil {
				return err
			}
			uses = append(uses, usesOf(h, count)...)
		}
		return show(cmd.OutOrStdout(), format, uses, func(w io.Writer) {
			row(w, "RECORDS", "KEY", "COUNT", "THE KEY")
			for _, u := range uses {
				row(w, u.Records, u.Key, u.Count, u.Is)
			}
		})
	})
	addFormat(cmd, &format)
	return cmd
}

// holdings are what is sealed, with the keys of it.
func (b *brokerSettings) holdings(ctx context.Context) ([]sealed.Holding, error) {
	bindings, err := sealed.Open(ctx, b.bindings.file(b.records.command), nil)
	holdings := []sealed.Holding{sealed.Bindings(bindings), sealed.Authority(bindings)}
	if err != nil || b.records.path == "" {
		return holdings, err
	}
	records, err := sealed.Open(ctx, b.records.file(), nil)
	return append(holdings, sealed.Clusters(records), sealed.Certificates(records)), err
}

// keyUse is how many records of a kind are sealed under one key.
type keyUse struct {
	Records string `json:"records"`
	Key     string `json:"key"`
	Count   int    `json:"count"`
	// Is says what becomes of the key.
	Is string `json:"is"`
}

// usesOf returns the keys of the file, in its order, and then what else there is.
func usesOf(h sealed.Holding, count sealed.Count) []keyUse {
	var uses []keyUse
	for i, k := range h.Ring.Keys() {
		is := "seals"
		switch {
		case i > 0 && count[k.ID()] > 0:
			is = "opens"
		case i > 0:
			is = "opens nothing here: may go"
		}
		uses = append(uses, keyUse{h.Name, k.ID(), count[k.ID()], is})
		delete(count, k.ID())
	}
	for _, id := range slices.Sorted(maps.Keys(count)) {
		is := "is missing in " + h.Ring.Where()
		if id == sealed.Plain {
			is = "none: sealed by the next write, or by pgpatron seal rotate"
		}
		uses = append(uses, keyUse{h.Name, id, count[id], is})
	}
	return uses
}
