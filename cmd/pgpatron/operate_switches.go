package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgpatron/pgpatron/broker/admin"
)

func routersCommand() *cobra.Command {
	list := operatorCommand("list", "List routers", cobra.NoArgs,
		func(ctx context.Context, site admin.Site, _ []string) (any, func(io.Writer), error) {
			routers, err := site.Routers(ctx)
			return routers, func(w io.Writer) { routerTable(w, routers) }, err
		})
	disable := func(off bool) actJob {
		return func(ctx context.Context, site admin.Site, id string, act admin.Act) (any, func(io.Writer), error) {
			r, err := site.SwitchRouter(ctx, id, off, act)
			return r, func(w io.Writer) { routerTable(w, []admin.Router{r}) }, err
		}
	}
	cmd := &cobra.Command{Use: "routers", Short: "List routers, or break the circuit of one"}
	cmd.AddCommand(list,
		actCommand("disable ROUTER", "Have a router turn clients away", disable(true),
			override{"force", "even if it is the last enabled router: nobody reaches any instance then"}),
		actCommand("enable ROUTER", "Have a router take clients again", disable(false)))
	return cmd
}

func replicasCommand() *cobra.Command {
	var instance string
	list := operatorCommand("list", "List replicas, and leaders that are disabled", cobra.NoArgs,
		func(ctx context.Context, site admin.Site, _ []string) (any, func(io.Writer), error) {
			replicas, err := site.Replicas(ctx, instance)
			return replicas, func(w io.Writer) { replicaTable(w, replicas) }, err
		})
	list.Flags().StringVar(&instance, "instance", "", "only those of this instance")
	disable := func(off bool) actJob {
		return func(ctx context.Context, site admin.Site, id string, act admin.Act) (any, func(io.Writer), error) {
			r, err := site.SwitchReplica(ctx, id, off, act)
			return r, func(w io.Writer) { replicaTable(w, []admin.Replica{r}) }, err
		}
	}
	cmd := &cobra.Command{Use: "replicas", Short: "List replicas, or take one out of read routing"}
	cmd.AddCommand(list,
		actCommand("disable INSTANCE.NODE", "Take a replica out of read routing", disable(true),
			override{"allow-last", "even if no other replica of the instance serves readers"}),
		actCommand("enable INSTANCE.NODE", "Have a replica serve readers again", disable(false)))
	return cmd
}

// actJob is what a command does that acts on one thing.
type actJob func(ctx context.Context, site admin.Site, id string, act admin.Act) (any, func(io.Writer), error)

// override is a flag that passes by a refusal.
type override struct{ name, usage string }

// actCommand makes a command that acts on one thing, with who does it and why.
func actCommand(use, short string, do actJob, overrides ...override) *cobra.Command {
	var act admin.Act
	cmd := operatorCommand(use, short, cobra.ExactArgs(1),
		func(ctx context.Context, site admin.Site, args []string) (any, func(io.Writer), error) {
			act.By = cmp.Or(act.By, userName())
			return do(ctx, site, args[0], act)
		})
	cmd.Flags().StringVar(&act.Reason, "reason", "", "why, for whoever looks later")
	cmd.Flags().StringVar(&act.By, "by", "", "who does it, beside the login; default: the user that runs this")
	for _, o := range overrides {
		cmd.Flags().BoolVar(&act.Force, o.name, false, o.usage)
	}
	return cmd
}

// userName is who runs this program, empty if nobody knows.
func userName() string {
	if name := os.Getenv("USER"); name != "" {
		return name
	}
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

func routerTable(w io.Writer, routers []admin.Router) {
	row(w, "ROUTER", "STATUS", "SINCE", "BY", "REASON")
	for _, r := range routers {
		row(w, r.ID, r.Status(), when(r.Since), r.By, r.Reason)
	}
}

func replicaTable(w io.Writer, replicas []admin.Replica) {
	row(w, "REPLICA", "BACKEND", "STATE", "STREAMING", "LAG", "STATUS", "SINCE", "BY", "REASON")
	for _, r := range replicas {
		row(w, r.ID, r.Backend, r.State, r.Streaming, lagText(r.Lag), r.Status(), when(r.Since), r.By, r.Reason)
	}
}

// when tells a time, or nothing for one that is not known.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.DateTime)
}

// lagText tells a number of bytes as people read it.
func lagText(bytes *int64) string {
	if bytes == nil {
		return ""
	}
	n := float64(*bytes)
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if n < 1024 {
			return fmt.Sprintf("%.4g %s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%.4g GiB", n)
}
