package registrar

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/registrar/watchdog"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/sealed"
)

// Config configures a Registrar.
type Config struct {
	// Backend is the address at which the rest of the site reaches this host:
	// containers' ports are published on it, and announced with it.
	Backend netip.Addr
	// ID is the backend's id, in records and labels, for good. One registrar runs for
	// each. Default: Backend, which another host can not have, too; a host whose
	// address changes keeps its nodes by keeping its id.
	ID string
	// Zone names what the host may fail together with, such as a rack or a
	// building. Default: empty, nothing is known.
	Zone string
	// Labels are told of the host; they mean what the operator wants.
	Labels map[string]string
	// DiskWarn and DiskReadOnly are how full, in percent, the disk of Docker's data
	// may become before that is told of each node here, and before clusters with
	// nodes here are made read-only. 100: never. Default 85 and 95.
	DiskWarn, DiskReadOnly int
	// Hostname names the host in announcements and in labels. No other host of
	// the site has it.
	Hostname string
	// Ports is the range of host ports that nodes are published at. Default
	// 20000-29999: clear of the ports that kernels hand out to clients.
	Ports state.Ports
	// Site is the site's id, see state.SiteID. Containers of other sites on the
	// same Docker are not seen.
	Site string
	// Etcd are the client URLs of etcd as the containers reach them.
	Etcd []string
	// EtcdLogin and EtcdTLS are what containers reach it with.
	EtcdLogin state.Credentials
	EtcdTLS   patroni.EtcdTLS
	// SessionTTL is how long the host stays registered after its registrar fell
	// silent. Default 10 s.
	SessionTTL time.Duration
	// FenceAfter is how long a leader may be silent before it is killed, so that
	// another takes over. Default watchdog.DefaultPatience.
	FenceAfter time.Duration
	// DockerHost is where the Docker Engine listens, such as
	// unix:///var/run/docker.sock. Default: as the environment says.
	DockerHost string
	// Image is the image's name in announcement keys. Default: patroni.ImageName.
	Image string
	// Region names what Zone is part of. Default: empty, nothing is known.
	Region string
	// URL is where the backend's registry is asked. Default: empty, nowhere.
	URL string
	// RecordKeys seal the copies of records on the nodes' volumes. Without them the
	// copies hold no password.
	RecordKeys *sealed.Ring
	// Parts are what the backend does beside running databases. Default: nothing.
	Parts []Part
	// Log defaults to slog.Default, Registerer to none.
	Log        *slog.Logger
	Registerer prometheus.Registerer

	// patience defaults to electionPatience and checkpointPatience.
	patience patience
}

// WithDefaults returns the configuration with every default filled in.
func (c Config) WithDefaults() Config {
	if c.Ports == (state.Ports{}) {
		c.Ports = state.Ports{First: 20000, Last: 29999}
	}
	if c.ID == "" && c.Backend.IsValid() {
		c.ID = c.Backend.String()
	}
	if c.patience == (patience{}) {
		c.patience = patience{election: electionPatience, checkpoint: checkpointPatience}
	}
	if c.DiskWarn == 0 {
		c.DiskWarn = 85
	}
	if c.DiskReadOnly == 0 {
		c.DiskReadOnly = 95
	}
	if c.SessionTTL == 0 {
		c.SessionTTL = 10 * time.Second
	}
	if c.FenceAfter == 0 {
		c.FenceAfter = watchdog.DefaultPatience
	}
	if c.Image == "" {
		c.Image = patroni.ImageName
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// engineName tells the engines of one process apart in its metrics.
func (c Config) engineName() string {
	if c.ID == c.Backend.String() {
		return "registrar"
	}
	return "registrar of " + c.ID
}

// hostname is what may stand in a label and between the colons of an
// announcement.
var hostname = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)

// Validate reports every problem at once, each naming its key.
func (c Config) Validate() error {
	var errs []error
	if !c.Backend.IsValid() || c.Backend.IsUnspecified() || c.Backend.IsMulticast() || c.Backend.Zone() != "" {
		errs = append(errs, fmt.Errorf("registrar.backend: must be the address at which other hosts reach this one, got %v", c.Backend))
	}
	if _, err := netip.ParseAddr(c.ID); err != nil && c.ID != c.Backend.String() && !hostname.MatchString(c.ID) {
		errs = append(errs, fmt.Errorf("registrar.id: must be an address, or letters, digits, dots and dashes, got %q", c.ID))
	}
	if c.Zone != "" && !hostname.MatchString(c.Zone) {
		errs = append(errs, fmt.Errorf("registrar.zone: must be letters, digits, dots and dashes, got %q", c.Zone))
	}
	if c.Region != "" && !hostname.MatchString(c.Region) {
		errs = append(errs, fmt.Errorf("registrar.region: must be letters, digits, dots and dashes, got %q", c.Region))
	}
	if !hostname.MatchString(c.Hostname) {
		errs = append(errs, fmt.Errorf("registrar.hostname: must be letters, digits, dots and dashes, got %q", c.Hostname))
	}
	if c.Ports.First < 1 || c.Ports.Last > 65535 || c.Ports.Last <= c.Ports.First {
		errs = append(errs, fmt.Errorf("registrar.host_ports: must be at least two ports from 1 to 65535, got %v", c.Ports))
	}
	if c.DiskWarn < 1 || c.DiskWarn > 100 {
		errs = append(errs, fmt.Errorf("registrar.disk_warn: must be from 1 to 100 percent, got %d", c.DiskWarn))
	}
	if c.DiskReadOnly < c.DiskWarn || c.DiskReadOnly > 100 {
		errs = append(errs, fmt.Errorf("registrar.disk_read_only: must be from disk_warn, %d, to 100 percent, got %d", c.DiskWarn, c.DiskReadOnly))
	}
	if c.Site == "" {
		errs = append(errs, errors.New("registrar.site: must be set"))
	}
	if c.SessionTTL < time.Second {
		errs = append(errs, fmt.Errorf("registrar.session_ttl: must be at least 1s, got %v", c.SessionTTL))
	}
	if c.FenceAfter < time.Second {
		errs = append(errs, fmt.Errorf("registrar.fence_after: must be at least 1s, got %v", c.FenceAfter))
	}
	if c.Image == "" {
		errs = append(errs, errors.New("registrar.image: must be set"))
	}
	return errors.Join(append(errs, c.validateEtcd()...)...)
}

func (c Config) validateEtcd() []error {
	if len(c.Etcd) == 0 {
		return []error{errors.New("registrar.etcd: must name at least one URL at which containers reach etcd")}
	}
	var errs []error
	for _, endpoint := range c.Etcd {
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" {
			errs = append(errs, fmt.Errorf("registrar.etcd: %q is not a URL like http://10.0.0.7:2379", endpoint))
		}
	}
	return errs
}
