package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/broker"
	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/federation"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/sealed"
)

// defaultImage is the node image that this source tree builds.
func defaultImage() string { return patroni.ImageName + ":" + patroni.ImageVersion() }

// hostname is the default of settings that name this host.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// addBroker adds what dev has in common with broker.
func addBroker(s *settings, cfg *broker.Config) {
	add(s, "username", &cfg.Username, "broker", "the platform's username", text)
	add(s, "password", &cfg.Password, "", "the platform's password; better in the environment than here", secret)
	add(s, "previous-username", &cfg.PreviousUsername, "", "a username that is let in, too, while the platform changes to the other", text)
	add(s, "previous-password", &cfg.PreviousPassword, "", "the password that goes with it", secret)
	add(s, "admin-username", &cfg.AdminUsername, "", "the operators' username at /admin; none: no operator's API", text)
	add(s, "admin-password", &cfg.AdminPassword, "", "the operators' password; better in the environment than here", secret)
	add(s, "ports", &cfg.Ports, "30000-30999", "public ports, FIRST-LAST", state.ParsePorts)
	add(s, "image", &cfg.Image, defaultImage(), "container image of new nodes", text)
	add(s, "service", &cfg.Service, "", "how the service shows itself in marketplaces, as a YAML map", strictYAML[catalog.Service])
	add(s, "plans", &cfg.Plans, "", "plans as a YAML list; default: single, cluster, ha", strictYAML[[]catalog.Plan])
	add(s, "readonly-ports", &cfg.ReadOnlyPorts, "true", "give each new instance with replicas a second public port, for reading", boolean)
	add(s, "provision-timeout", &cfg.ProvisionTimeout, "10m", "how long an instance may take to become usable", duration)
	add(s, "update-timeout", &cfg.UpdateTimeout, "30m", "how long a step of an update may take that copies an instance's data or makes a container anew", duration)
	add(s, "postgres-major", &cfg.PostgresMajor, fmt.Sprint(patroni.PostgresMajor), "major version of PostgreSQL in the image", strconv.Atoi)
	add(s, "min-binding-lifetime", &cfg.MinBindingLifetime, "1m", "the shortest lifetime that a binding may be given", duration)
	add(s, "max-binding-lifetime", &cfg.MaxBindingLifetime, "87600h", "the longest lifetime that a binding may be given", duration)
	add(s, "events-kept", &cfg.EventsKept, "5000", "how many events the event log holds", count)
	add(s, "events-age", &cfg.EventsAge, "720h", "how long the event log holds an event", duration)
	add(s, "global-ports", &cfg.GlobalByDefault, "false", "give every new instance a port that all sites of the federation agree on", boolean)
	add(s, "hostname", &cfg.Hostname, hostname(), "the name of this host", text)
}

// brokerSettings are all settings of a broker.
type brokerSettings struct {
	cfg      broker.Config
	etcd     state.Access
	files    certificateFiles
	records  recordKeys
	bindings bindingKeys
}

func brokerProcess() process {
	var b brokerSettings
	return process{"broker", "Serve the Open Service Broker API", b.bind, b.check, b.start}
}

func (b *brokerSettings) bind(s *settings) {
	addEtcd(s, &b.etcd)
	b.records.add(s)
	addBroker(s, &b.cfg)
	add(s, "listen", &b.cfg.Listen, "127.0.0.1:8888", "host:port of the OSB API", hostPort)
	b.files.add(s)
	add(s, "router-host", &b.cfg.RouterHost, "127.0.0.1", "public host of every instance: a name or address of the routers", text)
	add(s, "share-backends", &b.cfg.ShareBackends, "false", "allow several nodes of an instance on one backend", boolean)
	add(s, "site-file", &b.cfg.SiteFile, "", "file that keeps the site's id, by which an emptied etcd is recognised after a restart", text)
	add(s, "replace-after", &b.cfg.ReplaceAfter, "10m", "how long a backend may be silent before its nodes are rebuilt elsewhere; 0s: for ever", duration)
	add(s, "bind-timeout", &b.cfg.BindTimeout, "50s", "how long a request to bind or unbind waits for the database", duration)
	b.bindings.add(s)
}

func (b *brokerSettings) check() error {
	cfg := b.cfg
	cfg.Seal = sealed.NewRing(sealed.NewKey([32]byte{}))
	return errors.Join(cfg.WithDefaults().Validate(), b.files.validate(), b.records.check(), b.bindings.check(b.records.command), b.etcd.Validate())
}

func (b *brokerSettings) start(ctx context.Context, log *slog.Logger, _ io.Writer) error {
	ring, err := openNew(ctx, b.bindings.file(b.records.command), log)
	if err != nil {
		return err
	}
	cfg := b.cfg
	cfg.Seal, cfg.Log, cfg.TLS, cfg.GlobalPorts = ring, log, b.files.config(), &federation.GlobalPorts{}
	client, err := connect(ctx, b.etcd)
	if err != nil {
		return err
	}
	defer client.Close()
	recordRing, err := b.records.wrap(ctx, client, log)
	if err != nil {
		return err
	}
	served, err := broker.New(cfg, client)
	if err != nil {
		return err
	}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return served.Run(ctx) })
	tasks.Go(func() error { return ring.Run(ctx) })
	tasks.Go(func() error { return recordRing.Run(ctx) })
	tasks.Go(func() error {
		return notifyReady(ctx, log, func(ctx context.Context) error {
			_, err := served.Ready(ctx)
			return err
		})
	})
	return tasks.Wait()
}
