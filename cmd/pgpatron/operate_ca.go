package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgpatron/pgpatron/broker/admin"
)

func caCommand() *cobra.Command {
	cmd := operatorCommand("ca", "Show the authority of the databases' certificates, or replace it", cobra.NoArgs,
		func(ctx context.Context, site admin.Site, _ []string) (any, func(io.Writer), error) {
			return caAnswer(site.SiteCA(ctx))
		})
	cmd.AddCommand(
		operatorCommand("bundle", "Print the certificates that clients are to trust, for sslrootcert", cobra.NoArgs,
			func(ctx context.Context, site admin.Site, _ []string) (any, func(io.Writer), error) {
				ca, err := site.SiteCA(ctx)
				return ca.Bundle, func(w io.Writer) { fmt.Fprint(w, ca.Bundle) }, err
			}),
		caStep("rotate", "Begin a replacement: bindings carry a new authority beside the old one"),
		caStep("switch", "Have the new authority sign: every server gets a new certificate, without a restart"),
		caStep("retire", "End a replacement: bindings carry the new authority alone"),
	)
	return cmd
}

// caStep is one step of a replacement.
func caStep(step, short string) *cobra.Command {
	return operatorCommand(step, short, cobra.NoArgs,
		func(ctx context.Context, site admin.Site, _ []string) (any, func(io.Writer), error) {
			return caAnswer(site.ReplaceSiteCA(ctx, step))
		})
}

func caAnswer(ca admin.SiteCA, err error) (any, func(io.Writer), error) {
	return ca, func(w io.Writer) { caTable(w, ca) }, err
}

func caTable(w io.Writer, ca admin.SiteCA) {
	row(w, "AUTHORITY", "SIGNS", "SINCE", "EXPIRES")
	for _, a := range ca.Authorities {
		row(w, a.ID, a.Signs, a.Created.Format(time.DateOnly), a.Expires.Format(time.DateOnly))
	}
	fmt.Fprintf(w, "\nphase: %s; %s\n", ca.Phase, nextCAStep(ca))
	if ca.Certificates > 0 {
		fmt.Fprintf(w, "%d servers' certificates; the first ends %s and is renewed before\n", ca.Certificates, ca.FirstExpires.Format(time.DateOnly))
	}
	for _, node := range ca.Waiting {
		fmt.Fprintf(w, "waiting: %s does not show its new certificate yet\n", node)
	}
}

// nextCAStep says what an operator does next.
func nextCAStep(ca admin.SiteCA) string {
	switch ca.Phase {
	case "settled":
		return "`pgpatron ca rotate` begins a replacement"
	case "announced":
		return "when every application has the bundle of new bindings: `pgpatron ca switch`"
	case "switched":
		return "when every server shows its new certificate: `pgpatron ca retire`"
	}
	return "the elected broker makes the authority"
}
