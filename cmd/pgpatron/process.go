package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"
)

// process is one of the long-running subcommands.
type process struct {
	use, short string
	// bind adds the process's settings.
	bind func(*settings)
	// check tells everything that is wrong with them, as far as that can be told
	// without opening or asking anything. nil: nothing can be.
	check func() error
	// start runs the process until the context ends.
	start func(context.Context, *slog.Logger, io.Writer) error
}

// command returns the subcommand of the process.
func (p process) command() *cobra.Command {
	cmd := &cobra.Command{Use: p.use, Short: p.short, Args: cobra.NoArgs}
	s := newSettings(cmd.Flags())
	var file string
	var logLevel slog.Level
	var checkOnly bool
	s.addFile(&file)
	cmd.Flags().BoolVar(&checkOnly, "check-config", false, "say whether the configuration is good, and end")
	add(s, "log-level", &logLevel, "info", "what is logged: debug, info, warn or error", level)
	p.bind(s)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := errors.Join(s.load(file), p.checked()); err != nil {
			return fmt.Errorf("configuration:\n%w", err)
		}
		if checkOnly {
			fmt.Fprintf(cmd.OutOrStdout(), "the configuration of %s is good\n", p.use)
			return nil
		}
		log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: logLevel}))
		return p.run(cmd.Context(), log, cmd.ErrOrStderr())
	}
	return cmd
}

func (p process) checked() error {
	if p.check == nil {
		return nil
	}
	return p.check()
}

// run runs the process, and systemd's watchdog beside it.
func (p process) run(ctx context.Context, log *slog.Logger, stderr io.Writer) error {
	watched, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	watching.Go(func() { keepWatchdogQuiet(watched, log) })
	err := p.start(ctx, log, stderr)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // told to end while it was still beginning
	}
	return err
}
