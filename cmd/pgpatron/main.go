// Command pgpatron runs the processes of a site: broker, registrar, router, or
// all of them at once for development.
package main

import (
	"context"
	"fmt"
	"io"
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
	for _, p := range processes() {
		root.AddCommand(p.command())
	}
	root.AddCommand(initCommand(), smokeCommand(), registryCommand(), sealCommand(), recoverCommand())
	root.AddCommand(operatorCommands()...)
	root.AddCommand(federationCommands()...)
	return root
}

// processes are the long-running subcommands.
func processes() []process {
	return []process{devProcess(), brokerProcess(), registrarProcess(), routerProcess(), federationProcess()}
}
