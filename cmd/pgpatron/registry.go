package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
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
}

// addRegistry adds what dev has in common with registrar.
func addRegistry(s *settings, r *registrySettings) {
	add(s, "service-ports", &r.ports, "18000-19999", "host ports that instances of deployments are published at, FIRST-LAST", state.ParsePorts)
	add(s, "replace-after", &r.replaceAfter, "10s", "how long a node may be silent before its instances are placed elsewhere", duration)
	add(s, "instance-ttl", &r.instanceTTL, "30s", "how long an instance that registered itself lives without a heartbeat", duration)
	add(s, "registry-tokens-file", &r.tokensFile, "", "file with the registry's tokens, one in a line: view, edit or admin, the token, a name; default: nobody is let in", text)
	add(s, "registry-url", &r.url, "", "URL at which others reach this host's registry; default: that of --listen", text)
}

// tokens reads the tokens file.
func (r registrySettings) tokens() (registry.Tokens, error) {
	if r.tokensFile == "" {
		return nil, nil
	}
	b, err := os.ReadFile(r.tokensFile)
	if err != nil {
		return nil, fmt.Errorf("registry_tokens_file: %w", err)
	}
	tokens, err := registry.ParseTokens(string(b))
	if err != nil {
		return nil, fmt.Errorf("registry_tokens_file: %s:\n%w", r.tokensFile, err)
	}
	return tokens, nil
}

// deployer gives a registrar the part that runs deployments.
func (r registrySettings) deployer(cfg *registrar.Config, listen string) (*deploy.Deployer, error) {
	cfg.URL = r.url
	if cfg.URL == "" {
		cfg.URL = registryURL(listen, cfg.Backend)
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
func registryHandler(r *registrar.Registrar, d *deploy.Deployer, tokens registry.Tokens, log *slog.Logger) http.Handler {
	return registry.NewAPI(registry.Config{Self: r.ID(), Tokens: tokens, Log: log}, r.Engine(), d.Tables()).Handler()
}

// registryURL returns the URL of what listens at an address.
func registryURL(listen string, backend netip.Addr) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.IsUnspecified() {
		host = backend.String()
	}
	return "http://" + net.JoinHostPort(host, port)
}
