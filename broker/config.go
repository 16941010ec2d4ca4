package broker

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/sealed"
)

// ServiceID is the id of the service in the catalog. Platforms keep it: it
// never changes.
const ServiceID = "beb5973c-e1b2-11e5-a736-c7c0b526363d"

// Config configures a Broker.
type Config struct {
	// Listen is the host:port of the OSB API. Default 127.0.0.1:8888.
	Listen string
	// TLS, if set, has the API served over HTTPS.
	TLS *tls.Config
	// Username and Password are the platform's login.
	Username string
	Password state.Secret
	// PreviousUsername and PreviousPassword, if set, are a login that is let in,
	// too, while the platform changes to the other.
	PreviousUsername string
	PreviousPassword state.Secret
	// AdminUsername and AdminPassword are the operators' login to /admin. Without
	// them there is no operator's API.
	AdminUsername string
	AdminPassword state.Secret
	// RouterHost is the public host of every instance: a name or address that
	// leads to the routers. It stands in credentials, and the broker itself
	// reaches instances there.
	RouterHost string
	// Ports is the range of public ports.
	Ports state.Ports
	// Image is the container image of new nodes, with its tag.
	Image string
	// PostgresMajor is the major version of PostgreSQL in Image. Default:
	// patroni.PostgresMajor.
	PostgresMajor int
	// Service is how the service shows itself in marketplaces.
	Service catalog.Service
	// Plans are what users may order. Default: catalog.DefaultPlans.
	Plans []catalog.Plan
	// ShareBackends allows several nodes of an instance on one backend, which a
	// backend's death takes down together. For development.
	ShareBackends bool
	// ProvisionTimeout is how long an instance may take to become usable.
	// Default 10 minutes.
	ProvisionTimeout time.Duration
	// UpdateTimeout is how long one step of an update may take that copies an
	// instance's data or has a container made anew; the others have three
	// minutes of it. Default 30 minutes.
	UpdateTimeout time.Duration
	// ReplaceAfter is how long a backend may be silent before its nodes are rebuilt
	// elsewhere. 0: for ever.
	ReplaceAfter time.Duration
	// BindTimeout is how long a request to bind or unbind waits for the
	// database. Default 50 s: platforms give up after 60.
	BindTimeout time.Duration
	// MinBindingLifetime and MaxBindingLifetime bound the lifetime that users may
	// ask for a binding. Default 1 minute and 10 years.
	MinBindingLifetime time.Duration
	MaxBindingLifetime time.Duration
	// ReadOnlyPorts gives each new instance with replicas a second public port,
	// at which routers lead to them.
	ReadOnlyPorts bool
	// GlobalPorts speaks with the federation that the site may belong to. nil: the
	// site stands alone, and no port is global.
	GlobalPorts GlobalPorts
	// GlobalByDefault gives every new instance a global port.
	GlobalByDefault bool
	// EventsKept and EventsAge bound the event log: how many events it holds, and
	// for how long. Default 5000 and 30 days.
	EventsKept int
	EventsAge  time.Duration
	// Seal closes the secrets of bindings. All brokers of a site share its keys.
	Seal *sealed.Ring
	// SiteFile keeps the id of the site, so that a broker that is started over an etcd
	// that was emptied knows that it was. Empty: it does not.
	SiteFile string
	// Database changes logins in instances. nil: PostgreSQL through RouterHost.
	Database Database
	// Hostname names this broker where it is elected.
	Hostname string
	// Log defaults to slog.Default.
	Log *slog.Logger
	// Metrics holds what /metrics shows. Default: a registry of the broker's own.
	Metrics *prometheus.Registry
}

// WithDefaults returns the configuration with every default filled in.
func (c Config) WithDefaults() Config {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:8888"
	}
	if c.Ports == (state.Ports{}) {
		c.Ports = state.Ports{First: 30000, Last: 30999}
	}
	if len(c.Plans) == 0 {
		c.Plans = catalog.DefaultPlans()
	}
	c.Plans = slices.Clone(c.Plans)
	for i, p := range c.Plans {
		c.Plans[i] = p.WithDefaults()
	}
	if c.PostgresMajor == 0 {
		c.PostgresMajor = patroni.PostgresMajor
	}
	if c.UpdateTimeout == 0 {
		c.UpdateTimeout = 30 * time.Minute
	}
	if c.ProvisionTimeout == 0 {
		c.ProvisionTimeout = 10 * time.Minute
	}
	if c.BindTimeout == 0 {
		c.BindTimeout = 50 * time.Second
	}
	if c.MinBindingLifetime == 0 {
		c.MinBindingLifetime = time.Minute
	}
	if c.MaxBindingLifetime == 0 {
		c.MaxBindingLifetime = 10 * 365 * 24 * time.Hour
	}
	c.EventsKept = cmp.Or(c.EventsKept, 5000)
	c.EventsAge = cmp.Or(c.EventsAge, 30*24*time.Hour)
	c.Service = c.Service.WithDefaults()
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	return c
}

// Validate reports every problem at once, each naming its key.
func (c Config) Validate() error {
	var errs []error
	for _, field := range []struct{ key, value string }{
		{"broker.listen", c.Listen},
		{"broker.username", c.Username},
		{"broker.password", c.Password.Reveal()},
		{"broker.router_host", c.RouterHost},
		{"broker.image", c.Image},
	} {
		if field.value == "" {
			errs = append(errs, fmt.Errorf("%s: must be set", field.key))
		}
	}
	if c.ProvisionTimeout <= 0 {
		errs = append(errs, fmt.Errorf("broker.provision_timeout: must be positive, got %v", c.ProvisionTimeout))
	}
	if c.UpdateTimeout <= 0 {
		errs = append(errs, fmt.Errorf("broker.update_timeout: must be positive, got %v", c.UpdateTimeout))
	}
	if c.ReplaceAfter < 0 {
		errs = append(errs, fmt.Errorf("broker.replace_after: must not be negative, got %v", c.ReplaceAfter))
	}
	if c.BindTimeout <= 0 {
		errs = append(errs, fmt.Errorf("broker.bind_timeout: must be positive, got %v", c.BindTimeout))
	}
	if c.EventsKept < 0 || c.EventsAge < 0 {
		errs = append(errs, fmt.Errorf("broker.events_kept, broker.events_age: must not be negative, got %d and %v", c.EventsKept, c.EventsAge))
	}
	if c.Seal == nil {
		errs = append(errs, errors.New("broker.seal_key_file: must name a file that holds a key"))
	}
	if c.MinBindingLifetime < time.Minute || c.MaxBindingLifetime < c.MinBindingLifetime {
		errs = append(errs, fmt.Errorf("broker.min_binding_lifetime, broker.max_binding_lifetime: must be at least a minute, the first not above the second, got %v and %v",
			c.MinBindingLifetime, c.MaxBindingLifetime))
	}
	errs = append(errs, c.validateLogins()...)
	errs = append(errs, c.Service.Validate()...)
	return errors.Join(append(errs, catalog.Validate("broker.plans", c.Plans)...)...)
}

// plan returns the plan of that id.
func (c Config) plan(id string) (catalog.Plan, bool) {
	i := slices.IndexFunc(c.Plans, func(p catalog.Plan) bool { return p.ID == id })
	if i < 0 {
		return catalog.Plan{}, false
	}
	return c.Plans[i], true
}

// bindLimits are what users may ask for of a binding.
func (c Config) bindLimits() catalog.BindLimits {
	return catalog.BindLimits{MinLifetime: c.MinBindingLifetime, MaxLifetime: c.MaxBindingLifetime}
}
