package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/registrar/deploy"
	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

// newRegistrars makes a registrar for each of dev's backends, all on one Docker
// Engine: each sees its own containers alone. The first one's registry is
// served.
func (d *dev) newRegistrars(bridge netip.Addr, site string, client *clientv3.Client, metrics prometheus.Registerer) ([]*registrar.Registrar, http.Handler, error) {
	d.registrar.Backend, d.registrar.Hostname, d.registrar.Site = bridge, d.broker.Hostname, site
	d.registrar.DockerHost, d.registrar.Etcd = d.dockerHost, urls(d.etcd.Endpoints()[1:], false)
	d.registrar.Log, d.registrar.Registerer = d.log.With("process", "registrar"), metrics
	var registrars []*registrar.Registrar
	var errs []error
	var deployers []*deploy.Deployer
	for i := range d.backends {
		cfg := backendOf(d.registrar, i, d.backends)
		deployer, errDeployer := d.registry.deployer(&cfg, d.registryListen)
		r, errRegistrar := registrar.New(cfg, client)
		registrars, deployers = append(registrars, r), append(deployers, deployer)
		errs = append(errs, errDeployer, errRegistrar)
	}
	tokens, err := d.registryTokens()
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, nil, err
	}
	return registrars, registryHandler(registrars[0], deployers[0], tokens, d.registrar.Log), nil
}

// registryTokens returns the tokens that were given, or one of an admin that is
// kept in the data directory.
func (d *dev) registryTokens() (func() registry.Tokens, error) {
	if d.registry.tokensFile != "" {
		return d.registry.tokens(d.log)
	}
	token, err := keptPassword(filepath.Join(d.dataDir, "registry-token"))
	if err != nil {
		return nil, err
	}
	tokens, err := registry.ParseTokens("admin " + token.Reveal())
	return func() registry.Tokens { return tokens }, err
}

// warnOfOthers tells of backends that this data directory knows and that are
// not played now: nobody looks after their nodes.
func (d *dev) warnOfOthers(ctx context.Context, bridge netip.Addr, client *clientv3.Client) error {
	played := map[string]bool{}
	for i := range d.backends {
		played[state.HostKey(backendOf(registrar.Config{Backend: bridge}, i, d.backends).WithDefaults().ID)] = true
	}
	known, err := client.Get(ctx, state.HostPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("reading the known backends: %w", err)
	}
	for _, kv := range known.Kvs {
		if key := string(kv.Key); !played[key] {
			fmt.Fprintf(d.stderr, "pgpatron dev: backend %s was played here before and is not now (--backends): nobody looks after what it ran\n",
				strings.TrimPrefix(key, state.HostPrefix))
		}
	}
	return nil
}

// backendOf returns the configuration of the i-th of n backends. One alone is
// the machine itself, and its id the address; of several each has a name, a
// zone and host ports of its own.
func backendOf(cfg registrar.Config, i, n int) registrar.Config {
	if n == 1 {
		return cfg
	}
	cfg.ID = fmt.Sprintf("dev-%d", i+1)
	cfg.Zone = fmt.Sprintf("dev-zone-%d", i+1)
	cfg.Hostname = fmt.Sprintf("%s-%d", cfg.Hostname, i+1)
	cfg.Ports = share(cfg.Ports, i, n)
	return cfg
}

// share returns the i-th of n equal parts of a range.
func share(p state.Ports, i, n int) state.Ports {
	size := (p.Last - p.First + 1) / n
	return state.Ports{First: p.First + i*size, Last: p.First + (i+1)*size - 1}
}
