package main

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/federation"
	"github.com/pgpatron/pgpatron/state"
)

// addSite adds what the federation process and its operators have in common.
func addSite(s *settings, dc *string, files *federation.Files) {
	add(s, "dc", dc, "", "the name of this site: a DNS label", federation.ParseName)
	add(s, "cert", &files.Cert, "", "PEM file with the site's certificate, for the name of the site", text)
	add(s, "key", &files.Key, "", "PEM file with the certificate's key", text)
	add(s, "ca", &files.CA, "", "PEM file with the authority that signs the certificates of all sites", text)
}

// addFederation adds what dev has in common with federation.
func addFederation(s *settings, cfg *federation.Config) {
	addSite(s, &cfg.DC, &cfg.Files)
	add(s, "join-token", &cfg.JoinToken, "", "what whoever invites this site has to show; none: nobody may; better in the environment than here", secret)
	add(s, "lease", &cfg.Lease, "30s", "how long the site keeps still for a transaction that it hears nothing of; the same at every site", duration)
}

func federationProcess() process {
	var cfg federation.Config
	var etcd state.Access
	var metricsAt string
	bind := func(s *settings) {
		addEtcd(s, &etcd)
		addFederation(s, &cfg)
		add(s, "listen", &cfg.Listen, "127.0.0.1:9610", "host:port on which other sites and pgpatron dc are served", hostPort)
		add(s, "address", &cfg.Address, "", "host:port at which other sites reach this one; default: as listen", federation.ParseAddress)
		add(s, "metrics", &metricsAt, "127.0.0.1:9611", "host:port of /healthz and /metrics", hostPort)
		add(s, "ports", &cfg.Ports, "30000-30999", "public ports, FIRST-LAST, as the broker's", state.ParsePorts)
		add(s, "hostname", &cfg.Hostname, hostname(), "the name of this host", text)
	}
	check := func() error {
		return errors.Join(etcd.Validate(), cfg.WithDefaults().Validate(), cfg.Files.Check(cfg.DC))
	}
	start := func(ctx context.Context, log *slog.Logger, _ io.Writer) error {
		client, err := connect(ctx, etcd)
		if err != nil {
			return err
		}
		defer client.Close()
		metrics := prometheus.NewRegistry()
		cfg.Log, cfg.Metrics = log, metrics
		f, err := federation.New(cfg, client)
		if err != nil {
			return err
		}
		tasks, ctx := errgroup.WithContext(ctx)
		asked := front{listen: metricsAt, metrics: metrics, health: func() health { return unfitFor(f.Health()) }}
		tasks.Go(func() error { return f.Run(ctx) })
		tasks.Go(func() error { return asked.serve(ctx) })
		tasks.Go(func() error {
			return notifyReady(ctx, log, func(ctx context.Context) error {
				_, err := f.Ready(ctx)
				return err
			})
		})
		return tasks.Wait()
	}
	return process{"federation", "Agree with other sites on global ports", bind, check, start}
}
