// Command pgpatron runs the processes of a site: broker, registrar, router, or
// all of them at once for development.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/grpclog"
)

func main() {
	// gRPC's own log says nothing that errors do not say better.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Whoever asks a second time does not want to wait.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "pgpatron:", err)
		os.Exit(1)
	}
}

// run is the program: it ends with ctx.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// newRoot returns the command with its subcommands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:               "pgpatron",
		Short:             "Highly available PostgreSQL as a service",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(devCommand(), brokerCommand(), registrarCommand(), routerCommand(), registryCommand(), federationCommand())
	root.AddCommand(operatorCommands()...)
	root.AddCommand(federationCommands()...)
	return root
}

// process makes the subcommand of one process: bind adds its settings, start
// runs it with them until the context ends.
func process(use, short string, bind func(*settings), start func(context.Context, *slog.Logger, io.Writer) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs}
	s := newSettings(cmd.Flags())
	var file string
	var logLevel slog.Level
	cmd.Flags().StringVar(&file, "config", "", "YAML file with any of these settings, dashes written as underscores")
	add(s, "log-level", &logLevel, "info", "what is logged: debug, info, warn or error", level)
	bind(s)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.load(file); err != nil {
			return fmt.Errorf("configuration:\n%w", err)
		}
		log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: logLevel}))
		err := start(cmd.Context(), log, cmd.ErrOrStderr())
		if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
			return nil // told to end while it was still beginning
		}
		return err
	}
	return cmd
}
