package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

func eventsCommand() *cobra.Command {
	var f admin.EventFilter
	var kind string
	var follow bool
	cmd := brokerCommand("events", "List what has happened: failovers, fences, switches, operations", cobra.NoArgs,
		func(cmd *cobra.Command, site *admin.Client, format string, _ []string) error {
			f.Kind = state.EventKind(kind)
			if f.Last < 0 {
				return fmt.Errorf("last: must not be negative, got %d", f.Last)
			}
			if follow {
				return followEvents(cmd, site, format, f)
			}
			events, err := site.Events(cmd.Context(), f)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), format, events, func(w io.Writer) { eventTable(w, events) })
		})
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with those that come")
	cmd.Flags().StringVar(&f.Instance, "instance", "", "only those of this instance")
	cmd.Flags().StringVar(&kind, "kind", "", "only those of this kind: failover, fence, switch or operation")
	cmd.Flags().IntVarP(&f.Last, "last", "n", 50, "at most so many of the newest; 0: all that are kept")
	return cmd
}

func eventTable(w io.Writer, events []admin.Event) {
	row(w, "TIME", "KIND", "INSTANCE", "EVENT")
	for _, e := range events {
		row(w, when(e.At), e.Kind, e.Instance, eventText(e))
	}
}

// eventText tells an event with who wanted it and why.
func eventText(e admin.Event) string {
	text := e.Text
	if e.By != "" {
		text += ", by " + e.By
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// followEvents writes events as they come, a line each, until the program is told
// to end. A broker that goes is asked again from where it was.
func followEvents(cmd *cobra.Command, site *admin.Client, format string, f admin.EventFilter) error {
	out := cmd.OutOrStdout()
	lines := json.NewEncoder(out)
	told := map[string]bool{}
	begin := func() iter.Seq2[admin.Event, error] { return site.FollowEvents(cmd.Context(), f) }
	return persist(cmd.Context(), cmd.ErrOrStderr(), begin, func(e admin.Event) error {
		// Several events may share a revision: it is asked for again, and what was
		// told of it left out.
		if e.Revision-1 != f.After {
			clear(told)
			f.After, f.Last = e.Revision-1, 0
		}
		if told[e.ID] {
			return nil
		}
		told[e.ID] = true
		if format == "json" {
			return lines.Encode(e)
		}
		_, err := fmt.Fprintf(out, "%s  %-9s  %-12s  %s\n", when(e.At), e.Kind, cmp.Or(e.Instance, "-"), eventText(e))
		return err
	})
}

// retryPause is how long a broker that has gone is left alone.
const retryPause = time.Second

// persist takes what a broker that is followed tells, until ctx ends. Once it has
// answered it may go and come again; what it refuses is refused.
func persist[T any](ctx context.Context, stderr io.Writer, begin func() iter.Seq2[T, error], take func(T) error) error {
	answered := false
	for {
		for value, err := range begin() {
			if err == nil {
				answered = true
				err = take(value)
				if err != nil {
					return err
				}
				continue
			}
			refused, isRefusal := errors.AsType[*admin.Error](err)
			answered = answered || errors.Is(err, admin.ErrEnded)
			if !answered || isRefusal && refused.Status < 500 {
				return err
			}
			fmt.Fprintf(stderr, "pgpatron: %v; asking again\n", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryPause):
		}
	}
}
