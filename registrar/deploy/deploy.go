// Package deploy makes the registry's deployments be there. It is a part of
// every backend's registrar: each runs the instances that are placed on its
// host, and one of them, elected, decides where instances are placed.
//
//	d, err := deploy.New(deploy.Config{Backend: addr, ID: id, Hostname: name, Site: site})
//	…
//	r, err := registrar.New(registrar.Config{Parts: []registrar.Part{d}, …}, client)
//	api := registry.NewAPI(registry.Config{Self: id, Tokens: file.Tokens}, r.Engine(), d.Tables())
//
// As with databases, two pictures meet: the deployments' records say which
// placements are wanted on a host, Docker says what runs. Each placement has a
// worker that does what leads from one to the other. What the workers find out
// is published as instances, under the registrar's session.
package deploy

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/docker/docker/client"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

// Config configures a Deployer.
type Config struct {
	// Backend, ID, Hostname, Site and DockerHost are the registrar's.
	Backend    netip.Addr
	ID         string
	Hostname   string
	Site       string
	DockerHost string
	// Ports is the range of dynamic host ports. Default 18000-19999, clear of
	// the databases'.
	Ports state.Ports
	// ReplaceAfter is how long a node may be silent before its instances are
	// placed elsewhere. Default 10 s.
	ReplaceAfter time.Duration
	// InstanceTTL is how long an instance that registered itself lives without
	// a heartbeat. Default 30 s.
	InstanceTTL time.Duration
	// Image is the node image's name in announcement keys. Default:
	// patroni.ImageName.
	Image string
	// Log defaults to slog.Default.
	Log *slog.Logger
}

// WithDefaults returns the configuration with every default filled in.
func (c Config) WithDefaults() Config {
	if c.ID == "" && c.Backend.IsValid() {
		c.ID = c.Backend.String()
	}
	if c.Ports == (state.Ports{}) {
		c.Ports = state.Ports{First: 18000, Last: 19999}
	}
	if c.ReplaceAfter == 0 {
		c.ReplaceAfter = 10 * time.Second
	}
	if c.InstanceTTL == 0 {
		c.InstanceTTL = 30 * time.Second
	}
	if c.Image == "" {
		c.Image = patroni.ImageName
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// Validate reports every problem at once, each naming its key. What it has in
// common with the registrar, the registrar checks.
func (c Config) Validate() error {
	var errs []error
	if c.Ports.First < 1 || c.Ports.Last > 65535 || c.Ports.Last < c.Ports.First {
		errs = append(errs, errors.New("deploy.service_ports: must be a range of ports from 1 to 65535"))
	}
	if c.ReplaceAfter < 0 {
		errs = append(errs, errors.New("deploy.replace_after: must not be negative"))
	}
	if c.InstanceTTL < time.Second {
		errs = append(errs, errors.New("deploy.instance_ttl: must be at least 1s"))
	}
	return errors.Join(errs...)
}

// Deployer is the registrar's part that runs deployments. Make it with New,
// then give it to a registrar.
type Deployer struct {
	cfg    Config
	docker *client.Client
	log    *slog.Logger
	tables *registry.Tables
	office *office
	host   *host

	// fresh says that something is new that no table tells.
	fresh atomic.Bool
	// The rest belongs to Tick.
	lease clientv3.LeaseID
	begun bool
}

// New returns a deployer for cfg.
func New(cfg Config) (*Deployer, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	docker, err := registrar.DialDocker(cfg.DockerHost)
	if err != nil {
		return nil, err
	}
	return &Deployer{cfg: cfg, docker: docker, log: cfg.Log.With("backend", cfg.ID)}, nil
}

// Register adds the registry's tables to the schema.
func (d *Deployer) Register(s *state.Schema) {
	d.tables = registry.NewTables(s, d.cfg.Image)
	d.office = newOffice(d.cfg, d.tables, state.NewElection(s, "registry"), d.log)
	d.host = newHost(d.cfg, d.docker, d.tables, d.log)
}

// Tables returns the registry's tables, once Register was called.
func (d *Deployer) Tables() *registry.Tables { return d.tables }

// Run runs what is placed on the host until ctx ends. The containers go on
// running then.
func (d *Deployer) Run(ctx context.Context, engine *state.Engine) error {
	defer d.docker.Close()
	wake := func() {
		d.fresh.Store(true)
		engine.Wake()
	}
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return d.host.run(ctx, engine, wake) })
	running.Go(func() error { return d.office.run(ctx, wake) })
	return running.Wait()
}

// Tick gives the host's workers their goals, publishes what they say, and, if
// elected, places what is to be placed.
func (d *Deployer) Tick(_ context.Context, t state.Tick) ([]state.Group, error) {
	if !d.concerned(t) {
		return nil, nil
	}
	groups := append(d.host.tick(t), d.office.tick(t, time.Now())...)
	for i := range groups {
		groups[i].Done = d.ended
	}
	return groups, nil
}

// ended is told how a group ended: what failed is looked at again.
func (d *Deployer) ended(err error) {
	if err != nil {
		d.fresh.Store(true)
	}
}

// concerned reports whether anything changed that matters here. Patroni's many
// writes do not.
func (d *Deployer) concerned(t state.Tick) bool {
	concerned := d.fresh.Swap(false) || t.Lease != d.lease || !d.begun
	d.lease, d.begun = t.Lease, true
	return concerned || changed(d.tables.Definitions) || changed(d.tables.Deployments) || changed(d.tables.Instances) ||
		changed(d.tables.Backends) || changed(d.tables.Cordons) || d.office.moved()
}

// changed reports whether a table is not as the last Tick saw it.
func changed[T any](t *state.Table[T]) bool {
	for range t.Changed() {
		return true
	}
	return false
}
