package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/state"
)

func registrarCommand() *cobra.Command {
	var cfg registrar.Config
	var etcd, etcdForNodes []string
	var listen string
	var registry registrySettings
	return process("registrar", "Run the containers that are assigned to this host", func(s *settings) {
		addEtcd(s, &etcd)
		add(s, "etcd-for-nodes", &etcdForNodes, "", "etcd's addresses as the containers reach them; default: those of --etcd", endpoints)
		add(s, "backend", &cfg.Backend, "", "address at which the rest of the site reaches this host", address)
		add(s, "zone", &cfg.Zone, "", "what this host may fail together with, such as its rack or building", text)
		add(s, "region", &cfg.Region, "", "what the zone is part of", text)
		add(s, "labels", &cfg.Labels, "", "what is told of this host: NAME=VALUE,… or a YAML map", labels)
		addDisk(s, &cfg)
		add(s, "hostname", &cfg.Hostname, hostname(), "the name of this host", text)
		add(s, "host-ports", &cfg.Ports, "20000-29999", "host ports that nodes are published at, FIRST-LAST", state.ParsePorts)
		add(s, "docker-host", &cfg.DockerHost, "", "where the Docker Engine listens; default: as Docker's own tools find it", text)
		add(s, "fence-after", &cfg.FenceAfter, "3s", "how long a leader may be silent before it is killed, so that another takes over", duration)
		add(s, "listen", &listen, "127.0.0.1:8889", "host:port of the registry, /healthz and /metrics", hostPort)
		addRegistry(s, &registry)
	}, func(ctx context.Context, log *slog.Logger, _ io.Writer) error {
		if cfg.Backend == (netip.Addr{}) {
			return fmt.Errorf("backend: must be set to this host's address")
		}
		tokens, err := registry.tokens()
		if err != nil {
			return err
		}
		client, err := connect(ctx, etcd)
		if err != nil {
			return err
		}
		defer client.Close()
		if cfg.Site, err = state.SiteID(ctx, client, uuid.NewString); err != nil {
			return err
		}
		if len(etcdForNodes) == 0 {
			etcdForNodes = etcd
		}
		metrics := prometheus.NewRegistry()
		cfg.Etcd, cfg.Log, cfg.Registerer = urls(etcdForNodes), log, metrics
		deployer, err := registry.deployer(&cfg, listen)
		if err != nil {
			return err
		}
		r, err := registrar.New(cfg, client)
		if err != nil {
			return err
		}
		tasks, ctx := errgroup.WithContext(ctx)
		tasks.Go(func() error { return r.Run(ctx) })
		tasks.Go(func() error { return serveMetrics(ctx, listen, metrics, registryHandler(r, deployer, tokens, log)) })
		return tasks.Wait()
	})
}

// addDisk adds the settings of how full a disk may become.
func addDisk(s *settings, cfg *registrar.Config) {
	add(s, "disk-warn", &cfg.DiskWarn, "85", "how full, in percent, the disk of Docker's data may become before that is told", count)
	add(s, "disk-read-only", &cfg.DiskReadOnly, "95", "how full, in percent, it may become before clusters are made read-only; 100: never", count)
}
