package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/broker"
	"github.com/pgpatron/pgpatron/federation"
	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/embedded"
)

// dataDirVersion is the layout of dev's data directory.
const dataDirVersion = "pgpatron dev data 1"

// dev is a whole site in one process.
type dev struct {
	dataDir        string
	etcdListen     string
	metricsListen  string
	registryListen string
	dockerHost     string
	backends       int
	broker         broker.Config
	registrar      registrar.Config
	router         router.Config
	registry       registrySettings
	federation     federation.Config

	log    *slog.Logger
	stderr io.Writer
	etcd   *embedded.Etcd
}

func devProcess() process {
	var d dev
	bind := func(s *settings) {
		add(s, "data-dir", &d.dataDir, "pgpatron-data", "where etcd's data, keys, the password and the registry's token are kept", text)
		add(s, "broker-listen", &d.broker.Listen, "127.0.0.1:8888", "host:port of the OSB API", hostPort)
		add(s, "etcd-listen", &d.etcdListen, "127.0.0.1:2379", "host:port of the embedded etcd; its port is taken on Docker's bridge, too", hostPort)
		add(s, "router-host", &d.broker.RouterHost, "127.0.0.1", "address at which instances are reached", text)
		add(s, "metrics-listen", &d.metricsListen, "127.0.0.1:8890", "host:port of the router's /healthz and /metrics", hostPort)
		add(s, "host-ports", &d.registrar.Ports, "20000-29999", "host ports that nodes are published at, FIRST-LAST", state.ParsePorts)
		add(s, "registry-listen", &d.registryListen, "127.0.0.1:8889", "host:port of the registry", hostPort)
		addRegistry(s, &d.registry)
		add(s, "backends", &d.backends, "1", "how many backends to play, each with a registrar and a zone of its own", count)
		addDisk(s, &d.registrar)
		add(s, "docker-host", &d.dockerHost, "", "where the Docker Engine listens; default: as Docker's own tools find it", text)
		add(s, "hold", &d.router.Hold, "30s", "how long a connection may wait for a leader", duration)
		add(s, "break-grace", &d.router.BreakGrace, "30s", "how long sessions may go on when an operator breaks the router's circuit or switches their replica off", duration)
		add(s, "federation-listen", &d.federation.Listen, "127.0.0.1:9610", "host:port on which other sites are served, if dc is set", federation.ParseAddress)
		addFederation(s, &d.federation)
		addBroker(s, &d.broker)
	}
	start := func(ctx context.Context, log *slog.Logger, stderr io.Writer) error {
		d.log, d.stderr = log, stderr
		return d.run(ctx)
	}
	return process{"dev", "Run a whole site on this machine, for development", bind, nil, start}
}

// run starts what the processes stand on, then the processes, and ends with
// ctx. The containers live on.
func (d *dev) run(ctx context.Context) error {
	fmt.Fprintln(d.stderr, "pgpatron dev is for development: one machine, an etcd without a copy, without TLS and without users. Not for production.")
	bridge, err := d.checkDocker(ctx)
	if err != nil {
		return err
	}
	if err := d.prepareDataDir(ctx); err != nil {
		return err
	}
	if err := d.startEtcd(ctx, bridge); err != nil {
		return err
	}
	defer d.etcd.Close()
	return eachSite(ctx, d.log, func(ctx context.Context) error { return d.runProcesses(ctx, bridge) })
}

// prepareDataDir makes the data directory, or refuses one of another version,
// and reads the secrets that are kept in it.
func (d *dev) prepareDataDir(ctx context.Context) error {
	if err := os.MkdirAll(d.dataDir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if err := checkVersion(d.dataDir); err != nil {
		return err
	}
	var err error
	keys := bindingKeys{filepath.Join(d.dataDir, "seal.key")}
	if d.broker.Seal, err = openNew(ctx, keys.file(nil), nil); err != nil {
		return err
	}
	if d.broker.Password == "" {
		d.broker.Password, err = keptPassword(filepath.Join(d.dataDir, "password"))
	}
	if d.broker.AdminPassword == "" && err == nil {
		d.broker.AdminUsername = cmp.Or(d.broker.AdminUsername, "admin")
		d.broker.AdminPassword, err = keptPassword(filepath.Join(d.dataDir, "admin-password"))
	}
	return err
}

func checkVersion(dir string) error {
	path := filepath.Join(dir, "VERSION")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			return errors.Join(err, fmt.Errorf("data_dir: %s is not empty and holds no VERSION: name an empty directory, or one that pgpatron dev made", dir))
		}
		return os.WriteFile(path, []byte(dataDirVersion+"\n"), 0o600)
	}
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if got := strings.TrimSpace(string(b)); got != dataDirVersion {
		return fmt.Errorf("data_dir: %s is of version %q, this program needs %q: use the program that made it, or another directory", dir, got, dataDirVersion)
	}
	return nil
}

// keptPassword returns the password in the file, and makes both if there is
// none.
func keptPassword(path string) (state.Secret, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		b = []byte(rand.Text())
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("keeping a password in %s: %w", path, err)
	}
	return state.Secret(strings.TrimSpace(string(b))), nil
}

// checkDocker finds the engine and the address of its bridge, at which
// containers reach this host and each other.
func (d *dev) checkDocker(ctx context.Context) (netip.Addr, error) {
	version, bridge, err := registrar.CheckDocker(ctx, d.dockerHost)
	if err != nil {
		return bridge, err
	}
	d.log.Info("docker engine found", "version", version, "bridge", bridge)
	return bridge, nil
}

// startEtcd runs etcd where this process and where containers reach it.
func (d *dev) startEtcd(ctx context.Context, bridge netip.Addr) error {
	_, port, err := net.SplitHostPort(d.etcdListen)
	if err != nil {
		return fmt.Errorf("etcd_listen: %w", err)
	}
	addresses := []string{d.etcdListen, net.JoinHostPort(bridge.String(), port)}
	for _, a := range addresses {
		// etcd's own error for a busy port does not say which.
		l, err := net.Listen("tcp", a)
		if err != nil {
			return fmt.Errorf("etcd_listen: %w; end what uses the address, or choose another", err)
		}
		l.Close()
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	d.etcd, err = embedded.Start(ctx, embedded.Config{DataDir: filepath.Join(d.dataDir, "etcd"), Listen: addresses})
	return err
}

// runProcesses runs registrars, router and broker over the embedded etcd.
func (d *dev) runProcesses(ctx context.Context, bridge netip.Addr) error {
	client := d.etcd.Client()
	site, err := state.SiteID(ctx, client, uuid.NewString)
	if err != nil {
		return err
	}
	if err := d.warnOfOthers(ctx, bridge, client); err != nil {
		return err
	}
	metrics := prometheus.NewRegistry()
	d.broker.Log, d.broker.Metrics, d.broker.ShareBackends = d.log.With("process", "broker"), metrics, d.backends == 1
	if err := d.configureRouter(ctx, metrics); err != nil {
		return err
	}
	d.broker.GlobalPorts = &federation.GlobalPorts{}
	b, errBroker := broker.New(d.broker, client)
	registrars, serveRegistry, errRegistrar := d.newRegistrars(bridge, site, client, metrics)
	r, errRouter := router.New(d.router, client)
	f, errFederation := d.newFederation(client, metrics)
	if err := errors.Join(errBroker, errRegistrar, errRouter, errFederation); err != nil {
		return fmt.Errorf("configuration:\n%w", err)
	}
	tasks, ctx := errgroup.WithContext(ctx)
	for _, reg := range registrars {
		tasks.Go(func() error { return reg.Run(ctx) })
	}
	tasks.Go(func() error { return r.Run(ctx) })
	tasks.Go(func() error { return b.Run(ctx) })
	if f != nil {
		tasks.Go(func() error { return f.Run(ctx) })
	}
	tasks.Go(func() error {
		return front{listen: d.registryListen, metrics: metrics, others: serveRegistry}.serve(ctx)
	})
	tasks.Go(func() error { return d.watchEtcd(ctx) })
	tasks.Go(func() error { return d.announce(ctx, b, registrars) })
	return tasks.Wait()
}

// newFederation returns the federation process, or nil if the site has no name
// to join a federation with.
func (d *dev) newFederation(client *clientv3.Client, metrics *prometheus.Registry) (*federation.Federation, error) {
	if d.federation.DC == "" {
		return nil, nil
	}
	d.federation.Ports, d.federation.Hostname = d.broker.Ports, d.broker.Hostname
	d.federation.Log, d.federation.Metrics = d.log.With("process", "federation"), metrics
	return federation.New(d.federation, client)
}

// watchEtcd ends the site if its etcd ends.
func (d *dev) watchEtcd(ctx context.Context) error {
	select {
	case err := <-d.etcd.Err():
		return fmt.Errorf("embedded etcd ended: %w", err)
	case <-ctx.Done():
		return nil
	}
}

// announce says when the site can be used, and how.
func (d *dev) announce(ctx context.Context, b *broker.Broker, registrars []*registrar.Registrar) error {
	addr, err := b.Ready(ctx)
	for _, r := range registrars {
		err = errors.Join(err, r.Ready(ctx))
	}
	if err == nil {
		err = b.AwaitBackend(ctx)
	}
	if err != nil {
		return nil // ctx ended first
	}
	fmt.Fprintf(d.stderr, "pgpatron dev is ready: broker http://%s (user %s, password in %s or as given), instances at %s, ports %v, etcd %s, registry http://%s\n",
		addr, d.broker.Username, filepath.Join(d.dataDir, "password"), d.broker.RouterHost, d.broker.Ports, d.etcdListen, d.registryListen)
	return nil
}
