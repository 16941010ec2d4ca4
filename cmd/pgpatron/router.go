package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

func routerProcess() process {
	var cfg router.Config
	var etcd state.Access
	bind := func(s *settings) {
		addEtcd(s, &etcd)
		add(s, "ip", &cfg.IP, "", "this router's own address, by which it is registered; default: the one from which it reaches etcd", address)
		add(s, "listen", &cfg.Listen, "0.0.0.0", "address on which the public ports are opened", address)
		add(s, "ports", &cfg.Ports, "30000-30999", "public ports, FIRST-LAST", state.ParsePorts)
		add(s, "hold", &cfg.Hold, "30s", "how long a connection may wait for a leader", duration)
		add(s, "dial-timeout", &cfg.DialTimeout, "3s", "how long one attempt to reach a leader may take", duration)
		add(s, "keep-alive", &cfg.KeepAlive, "15s", "how long a connection may be silent before its peer is asked for a sign of life", duration)
		add(s, "user-timeout", &cfg.UserTimeout, "0s", "how long what was sent may stay unacknowledged; 0s: the kernel's limit", duration)
		add(s, "max-sessions", &cfg.MaxSessions, "0", "clients served at once, by the kernel, too; 0: as many as the limit of open files allows, and any number by the kernel", countOrZero)
		add(s, "max-instance-sessions", &cfg.MaxInstanceSessions, "2000", "clients of one instance served at once, where its plan does not say", count)
		add(s, "max-held", &cfg.MaxHeld, "10000", "clients that may wait for a leader at once", count)
		add(s, "max-instance-held", &cfg.MaxInstanceHeld, "1000", "clients of one instance that may wait for a leader at once", count)
		add(s, "max-lag", &cfg.MaxLag, "16777216", "how many bytes of WAL a replica may be behind to be given readers", byteCount)
		add(s, "max-lag-time", &cfg.MaxLagTime, "10s", "how long a replica may be behind to be given readers", duration)
		add(s, "replica-fallback", &cfg.ReplicaFallback, "leader", "what readers get when no replica is fit: leader, or refuse", router.ParseReplicaFallback)
		add(s, "replica-grace", &cfg.ReplicaGrace, "30s", "how long the readers of a replica may stay that is given no new ones", duration)
		add(s, "break-grace", &cfg.BreakGrace, "30s", "how long sessions may go on when an operator breaks this router's circuit or switches their replica off; 0s: they are cut at once", duration)
		add(s, "drain", &cfg.Drain, "10s", "how long sessions may go on after SIGTERM", duration)
		add(s, "table-file", &cfg.TableFile, "", "file that keeps instances and leaders for a start without etcd", text)
		add(s, "loops", &cfg.Loops, "0", "event loops that serve the clients; 0: one for each core", countOrZero)
		add(s, "data-plane", &cfg.DataPlane, "auto", "what moves the bytes of sessions: kernel, user, or auto: the kernel where it can be used", router.ParseDataPlane)
		add(s, "leave-rules", &cfg.LeaveRules, "false", "leave what the kernel leads when the router ends, for one that is started at once", boolean)
		add(s, "metrics", &cfg.Metrics, "127.0.0.1:8890", "host:port of /healthz and /metrics", hostPort)
	}
	check := func() error { return errors.Join(checkRouter(cfg), etcd.Validate()) }
	start := func(ctx context.Context, log *slog.Logger, _ io.Writer) error {
		client, err := connectIfNeeded(ctx, etcd, cfg.TableFile, log)
		if err != nil {
			return err
		}
		defer client.Close()
		if !cfg.IP.IsValid() {
			if cfg.IP, err = ownAddress(ctx, client.Endpoints()[0]); err != nil {
				return err
			}
		}
		cfg.Log, cfg.Registry = log, prometheus.NewRegistry()
		collectEarly()
		r, err := router.New(cfg, client)
		if err != nil {
			return err
		}
		tasks, ctx := errgroup.WithContext(ctx)
		tasks.Go(func() error { return r.Run(ctx) })
		tasks.Go(func() error { return notifyReady(ctx, log, serving(r)) })
		return tasks.Wait()
	}
	return process{"router", "Lead one public port of each instance to its leader", bind, check, start}
}

// collectEarly has memory collected when garbage is 40 % of what is in use, and not
// only when it is as much, unless GOGC says otherwise. Nearly all that a router
// holds is its picture of the site, and it makes little garbage: on a site of
// 10 000 instances that saves 15 MiB and costs a hundredth of a core.
func collectEarly() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(40)
	}
}

// checkRouter tells what is wrong with a router's configuration. An address that
// is not given is found when etcd is.
func checkRouter(cfg router.Config) error {
	if !cfg.IP.IsValid() {
		cfg.IP = netip.IPv6LinkLocalAllNodes()
	}
	return cfg.WithDefaults().Validate()
}

// serving returns a function that waits until the router leads clients, or
// refuses them because an operator wants it to.
func serving(r *router.Router) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-r.Started():
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// connectIfNeeded is connect, and goes on without etcd if there is a table that
// the router can begin with.
func connectIfNeeded(ctx context.Context, etcd state.Access, table string, log *slog.Logger) (*clientv3.Client, error) {
	client, err := connect(ctx, etcd)
	if err == nil || table == "" {
		return client, err
	}
	if _, missing := os.Stat(table); missing != nil {
		return nil, err
	}
	log.Warn("starting without etcd", "err", err)
	return etcd.Dial()
}

// ownAddress returns the address of this host that the kernel chooses to reach
// a peer with. Nothing is sent.
func ownAddress(ctx context.Context, peer string) (netip.Addr, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", hostOf(peer))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("ip: can not be found out, set it: %w", err)
	}
	defer conn.Close()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	return local.Addr().Unmap(), err
}

// configureRouter makes the router of a dev site listen where instances are
// said to be.
func (d *dev) configureRouter(ctx context.Context, metrics *prometheus.Registry) error {
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", d.broker.RouterHost)
	if err != nil {
		return fmt.Errorf("router_host: %w", err)
	}
	d.router.Listen = addresses[0].Unmap()
	d.router.IP = d.router.Listen
	if d.router.IP.IsUnspecified() {
		return fmt.Errorf("router_host: must be an address that instances can be reached at, got %s", d.broker.RouterHost)
	}
	d.router.Ports, d.router.Metrics = d.broker.Ports, d.metricsListen
	d.router.Log, d.router.Registry = d.log.With("process", "router"), metrics
	return nil
}
