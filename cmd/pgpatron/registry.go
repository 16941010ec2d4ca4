package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/registrar/deploy"
	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

// registrySettings are those of a registrar's part that is not databases.
type registrySettings struct {
	ports        state.Ports
	replaceAfter time.Duration
	instanceTTL  time.Duration
	tokensFile   string
	url          string
	files        certificateFiles
}

// addRegistry adds what dev has in common with registrar.
func addRegistry(s *settings, r *registrySettings) {
	add(s, "service-ports", &r.ports, "18000-19999", "host ports that instances of deployments are published at, FIRST-LAST", state.ParsePorts)
	add(s, "replace-after", &r.replaceAfter, "10s", "how long a node may be silent before its instances are placed elsewhere", duration)
	add(s, "instance-ttl", &r.instanceTTL, "30s", "how long an instance that registered itself lives without a heartbeat", duration)
	add(s, "registry-tokens-file", &r.tokensFile, "", "file with the registry's tokens, one in a line: view, edit or admin, the token, a name; default: nobody is let in", text)
	add(s, "registry-url", &r.url, "", "URL at which others reach this host's registry; default: that of --listen", text)
}

// tokens returns what tells who is let in: what the tokens file says then.
func (r registrySettings) tokens(log *slog.Logger) (func() registry.Tokens, error) {
	if r.tokensFile == "" {
		return nil, nil
	}
	file, err := registry.OpenTokenFile(r.tokensFile, log)
	if err != nil {
		return nil, fmt.Errorf("registry_tokens_file: %w", err)
	}
	return file.Tokens, nil
}

// deployer gives a registrar the part that runs deployments.
func (r registrySettings) deployer(cfg *registrar.Config, listen string) (*deploy.Deployer, error) {
	cfg.URL = r.url
	if cfg.URL == "" {
		cfg.URL = registryURL(r.files.scheme(), listen, cfg.Backend)
	}
	d, err := deploy.New(deploy.Config{
		Backend: cfg.Backend, ID: cfg.ID, Hostname: cfg.Hostname, Site: cfg.Site, DockerHost: cfg.DockerHost,
		Ports: r.ports, ReplaceAfter: r.replaceAfter, InstanceTTL: r.instanceTTL, Image: cfg.Image, Log: cfg.Log,
	})
	if err == nil {
		cfg.Parts = []registrar.Part{d}
	}
	return d, err
}

// registryHandler returns the registry's API on one of its nodes.
func registryHandler(r *registrar.Registrar, d *deploy.Deployer, tokens func() registry.Tokens, log *slog.Logger) http.Handler {
	return registry.NewAPI(registry.Config{Self: r.ID(), Tokens: tokens, Log: log}, r.Engine(), d.Tables()).Handler()
}

// registryURL returns the URL of what listens at an address.
func registryURL(scheme, listen string, backend netip.Addr) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.IsUnspecified() {
		host = backend.String()
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
