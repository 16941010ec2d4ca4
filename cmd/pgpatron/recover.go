package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/recovery"
)

// errNotRecovered says that nothing was written.
var errNotRecovered = errors.New("nothing was written")

// recoverer brings back a site whose etcd has lost its data.
type recoverer struct {
	etcd     state.Access
	records  recordKeys
	choices  recovery.Choices
	patience time.Duration
	yes      bool
	dryRun   bool
}

func recoverCommand() *cobra.Command {
	var run recoverer
	var file string
	cmd := &cobra.Command{
		Use:   "recover",
		Args:  cobra.NoArgs,
		Short: "Bring back a site whose etcd has lost its data, from what the nodes' volumes carry",
		Long: `Asks every registrar, through the new, empty etcd, what copies of records the volumes of its nodes carry; shows what
was found, what will be written and what is contradictory; asks; and writes. Nothing that etcd has is changed.
It may be run again at any time, also after it was cut short. Until it has been run no process changes anything
in an etcd that has lost its data, and no container is removed.

With users in etcd, make them first (pgpatron init etcd), and log in as root.`,
	}
	s := newSettings(cmd.Flags())
	addEtcd(s, &run.etcd)
	run.records.add(s)
	flags := cmd.Flags()
	s.addFile(&file)
	flags.DurationVar(&run.patience, "wait", 30*time.Second, "how long the registrars are waited for")
	flags.BoolVar(&run.yes, "yes", false, "write without asking, if nothing is left to be decided")
	flags.BoolVar(&run.dryRun, "dry-run", false, "show the plan, and write nothing")
	flags.StringVar(&run.choices.Site, "site", "", "the site to recover, where copies of several are found")
	flags.StringSliceVar(&run.choices.Without, "without", nil, "backends that are lost: what only they know is not waited for")
	flags.StringSliceVar(&run.choices.Include, "include", nil, "doubtful instances that are to be recovered")
	flags.StringSliceVar(&run.choices.LeaveOut, "leave-out", nil, "instances that are not to be recovered")
	flags.StringToStringVar(&run.choices.Take, "take", nil, "INSTANCE=NODE: whose copy counts, where copies contradict each other")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := errors.Join(s.load(file), run.etcd.Validate(), run.records.check()); err != nil {
			return fmt.Errorf("configuration:\n%w", err)
		}
		return run.run(cmd)
	}
	return cmd
}

func (r recoverer) run(cmd *cobra.Command) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	client, err := connect(ctx, r.etcd)
	if err != nil {
		return err
	}
	defer client.Close()
	keys, err := r.records.wrap(ctx, client, nil)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "asking the registrars …")
	evidence, err := recovery.Gather(ctx, client, keys, uuid.NewString(), r.patience)
	if err != nil {
		return err
	}
	plan := recovery.Make(evidence, r.choices)
	if err := plan.Print(out); err != nil {
		return err
	}
	switch {
	case len(plan.Problems) > 0:
		return errors.Join(errNotRecovered, recovery.ErrUndecided)
	case r.dryRun:
		return nil
	case !r.yes && !agreed(cmd):
		return errNotRecovered
	}
	if err := plan.Write(ctx, client); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nsite %s is recovered: its processes go on by themselves\n", plan.Site)
	return nil
}

// agreed asks whether to go on.
func agreed(cmd *cobra.Command) bool {
	fmt.Fprint(cmd.OutOrStdout(), "\nwrite this? Type yes: ")
	answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n') // no answer is a no
	return strings.TrimSpace(answer) == "yes"
}
