package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

// registrarSettings are all settings of a registrar.
type registrarSettings struct {
	cfg            registrar.Config
	etcd, forNodes state.Access
	listen         string
	records        recordKeys
	registry       registrySettings
}

func registrarProcess() process {
	var r registrarSettings
	return process{"registrar", "Run the containers that are assigned to this host", r.bind, r.check, r.start}
}

func (r *registrarSettings) bind(s *settings) {
	addEtcd(s, &r.etcd)
	addEtcdForNodes(s, &r.forNodes)
	r.records.add(s)
	add(s, "backend", &r.cfg.Backend, "", "address at which the rest of the site reaches this host", address)
	add(s, "id", &r.cfg.ID, "", "the id of this host in all records; default: its address", text)
	add(s, "zone", &r.cfg.Zone, "", "what this host may fail together with, such as its rack or building", text)
	add(s, "region", &r.cfg.Region, "", "what the zone is part of", text)
	add(s, "labels", &r.cfg.Labels, "", "what is told of this host: NAME=VALUE,… or a YAML map", labels)
	addDisk(s, &r.cfg)
	add(s, "hostname", &r.cfg.Hostname, hostname(), "the name of this host", text)
	add(s, "host-ports", &r.cfg.Ports, "20000-29999", "host ports that nodes are published at, FIRST-LAST", state.ParsePorts)
	add(s, "docker-host", &r.cfg.DockerHost, "", "where the Docker Engine listens; default: as Docker's own tools find it", text)
	add(s, "fence-after", &r.cfg.FenceAfter, "3s", "how long a leader may be silent before it is killed, so that another takes over", duration)
	add(s, "listen", &r.listen, "127.0.0.1:8889", "host:port of the registry, /healthz and /metrics", hostPort)
	r.registry.files.add(s)
	addRegistry(s, &r.registry)
}

func (r *registrarSettings) check() error {
	checked := r.cfg
	checked.Site = "of etcd"
	_, errTokens := r.registry.tokens(nil)
	return errors.Join(configureNodes(&checked, r.etcd, r.forNodes), errTokens, r.registry.files.validate(), r.records.check(), r.etcd.Validate(), checked.WithDefaults().Validate())
}

func (r *registrarSettings) start(ctx context.Context, log *slog.Logger, _ io.Writer) error {
	if err := configureNodes(&r.cfg, r.etcd, r.forNodes); err != nil {
		return err
	}
	tokens, err := r.registry.tokens(log)
	if err != nil {
		return err
	}
	client, err := connect(ctx, r.etcd)
	if err != nil {
		return err
	}
	defer client.Close()
	if r.cfg.RecordKeys, err = r.records.wrap(ctx, client, log); err != nil {
		return err
	}
	r.cfg.Log = log
	return eachSite(ctx, log, func(ctx context.Context) error { return r.serve(ctx, client, tokens) })
}

// serve is a registrar of the site that etcd serves now.
func (r *registrarSettings) serve(ctx context.Context, client *clientv3.Client, tokens func() registry.Tokens) error {
	cfg := r.cfg // parts are added to it
	site, err := state.SiteID(ctx, client, uuid.NewString)
	if err != nil {
		return err
	}
	metrics := prometheus.NewRegistry()
	cfg.Site, cfg.Registerer = site, metrics
	deployer, err := r.registry.deployer(&cfg, r.listen)
	if err != nil {
		return err
	}
	served, err := registrar.New(cfg, client)
	if err != nil {
		return err
	}
	asked := front{
		listen: r.listen, tls: r.registry.files.config(), metrics: metrics, health: func() health { return wellBut(served.Held()) },
		others: registryHandler(served, deployer, tokens, cfg.Log),
	}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return served.Run(ctx) })
	tasks.Go(func() error { return cfg.RecordKeys.Run(ctx) })
	tasks.Go(func() error { return asked.serve(ctx) })
	tasks.Go(func() error { return notifyReady(ctx, cfg.Log, served.Ready) })
	return tasks.Wait()
}

// eachSite runs what is made for the site that etcd serves, and makes it anew when
// that is another, because the site was recovered.
func eachSite(ctx context.Context, log *slog.Logger, run func(context.Context) error) error {
	for {
		err := run(ctx)
		if !errors.Is(err, registrar.ErrOtherSite) {
			return err
		}
		log.WarnContext(ctx, "beginning again for the site that etcd serves now", "err", err)
	}
}

// addEtcdForNodes adds how the containers reach etcd, and as whom.
func addEtcdForNodes(s *settings, into *state.Access) {
	add(s, "etcd-for-nodes", &into.Endpoints, "", "etcd's addresses as the containers reach them; default: those of --etcd", endpoints)
	add(s, "etcd-cert-for-nodes", &into.CertFile, "", "PEM file with the containers' certificate, if etcd asks for one", text)
	add(s, "etcd-key-for-nodes", &into.KeyFile, "", "PEM file with the certificate's key", text)
	add(s, "etcd-username-for-nodes", &into.Username, "", "the etcd user that containers log in as", text)
	add(s, "etcd-password-for-nodes", &into.Password, "", "its password; better in the environment than here", secret)
}

// configureNodes fills in what the containers are told of etcd. The authority is
// the registrar's.
func configureNodes(cfg *registrar.Config, etcd, nodes state.Access) error {
	if len(nodes.Endpoints) == 0 {
		nodes.Endpoints = etcd.Endpoints
	}
	nodes.CAFile = etcd.CAFile
	cfg.Etcd = urls(nodes.Endpoints, etcd.Encrypted())
	cfg.EtcdLogin = state.Credentials{Username: nodes.Username, Password: nodes.Password}
	var key string
	err := errors.Join(
		readText(&cfg.EtcdTLS.CA, "etcd_ca", nodes.CAFile),
		readText(&cfg.EtcdTLS.Cert, "etcd_cert_for_nodes", nodes.CertFile),
		readText(&key, "etcd_key_for_nodes", nodes.KeyFile),
	)
	cfg.EtcdTLS.Key = state.Secret(key)
	if (nodes.Username == "") != (nodes.Password == "") {
		err = errors.Join(err, errors.New("etcd_username_for_nodes, etcd_password_for_nodes: one can not be without the other"))
	}
	if (nodes.CertFile == "") != (nodes.KeyFile == "") {
		err = errors.Join(err, errors.New("etcd_cert_for_nodes, etcd_key_for_nodes: one can not be without the other"))
	}
	if nodes.Username != "" && cfg.EtcdTLS.HasCommonName() {
		err = errors.Join(err, errors.New("etcd_cert_for_nodes: has a common name, and etcd refuses Patroni with such a certificate where it asks for logins: make one without"))
	}
	return err
}

// readText reads the file that the setting key names, if it names one.
func readText(into *string, key, path string) error {
	if path == "" {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	*into = string(b)
	return nil
}

// addDisk adds the settings of how full a disk may become.
func addDisk(s *settings, cfg *registrar.Config) {
	add(s, "disk-warn", &cfg.DiskWarn, "85", "how full, in percent, the disk of Docker's data may become before that is told", count)
	add(s, "disk-read-only", &cfg.DiskReadOnly, "95", "how full, in percent, it may become before clusters are made read-only; 100: never", count)
}
