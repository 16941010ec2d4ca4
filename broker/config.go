package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
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
	Service Service
	// Plans are what users may order. Default: DefaultPlans.
	Plans []Plan
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
	// SealKey closes the secrets of bindings. All brokers of a site share it.
	SealKey SealKey
	// Database changes logins in instances. nil: PostgreSQL through RouterHost.
	Database Database
	// Hostname names this broker where it is elected.
	Hostname string
	// Log defaults to slog.Default.
	Log *slog.Logger
	// Metrics holds what /metrics shows. Default: a registry of the broker's own.
	Metrics *prometheus.Registry
}

// Plan is one size of cluster that users may order.
type Plan struct {
	// ID never changes once an instance has the plan.
	ID          string `yaml:"id"`
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	// Nodes is how many PostgreSQL servers a cluster of this plan has.
	Nodes int `yaml:"nodes"`
	// MemoryMB and MilliCPU limit each node: MiB, and thousandths of a core.
	MemoryMB int `yaml:"memory_mb"`
	MilliCPU int `yaml:"milli_cpu"`
	// Limits are what users may change of an instance.
	Limits `yaml:",inline"`
	// Offer is how the plan shows itself, and how many may have it.
	Offer `yaml:",inline"`
}

// Replicated reports whether the plan has a replica.
func (p Plan) Replicated() bool { return p.Nodes > 1 }

// DefaultPlans returns the plans of a broker that is told no others.
func DefaultPlans() []Plan {
	return []Plan{
		{
			ID: "f61a3b1c-5b7e-4e0e-9d0c-0b8f3f1f6c01", Name: "single", Nodes: 1, MemoryMB: 512, MilliCPU: 1000,
			Description: "One PostgreSQL server; it is restarted where it is if it dies",
		},
		{
			ID: "1545e30e-6dc3-11e5-826a-6c4008a663f0", Name: "cluster", Nodes: 2, MemoryMB: 512, MilliCPU: 1000,
			Description: "A leader and a synchronous standby that takes over in a second",
		},
		{
			ID: "a2c1d9d4-7a52-4f5b-8f5e-6f0f0d6a9b03", Name: "ha", Nodes: 3, MemoryMB: 1024, MilliCPU: 2000,
			Description: "A leader and two standbys on three hosts: one may be lost and the next one, too",
		},
	}
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
		c.Plans = DefaultPlans()
	}
	c.Plans = slices.Clone(c.Plans)
	for i, p := range c.Plans {
		c.Plans[i].Limits = p.Limits.withDefaults(p.Nodes)
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
	c.Service = c.Service.withDefaults()
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
	if c.BindTimeout <= 0 {
		errs = append(errs, fmt.Errorf("broker.bind_timeout: must be positive, got %v", c.BindTimeout))
	}
	if c.SealKey == (SealKey{}) {
		errs = append(errs, errors.New("broker.seal_key_file: must name a file that holds a key"))
	}
	if c.MinBindingLifetime < time.Minute || c.MaxBindingLifetime < c.MinBindingLifetime {
		errs = append(errs, fmt.Errorf("broker.min_binding_lifetime, broker.max_binding_lifetime: must be at least a minute, the first not above the second, got %v and %v",
			c.MinBindingLifetime, c.MaxBindingLifetime))
	}
	errs = append(errs, c.validateLogins()...)
	errs = append(errs, c.Service.validate()...)
	return errors.Join(append(errs, c.validatePlans()...)...)
}

func (c Config) validatePlans() []error {
	var errs []error
	for i, p := range c.Plans {
		key := fmt.Sprintf("broker.plans[%d]", i)
		if p.ID == "" || p.Name == "" || p.Description == "" {
			errs = append(errs, fmt.Errorf("%s: id, name and description must be set", key))
		}
		if p.Nodes < 1 || p.Nodes > mostNodes {
			errs = append(errs, fmt.Errorf("%s.nodes: must be from 1 to %d, got %d", key, mostNodes, p.Nodes))
		}
		if p.MemoryMB < 256 {
			errs = append(errs, fmt.Errorf("%s.memory_mb: must be at least 256, got %d", key, p.MemoryMB))
		}
		if p.MilliCPU < 100 {
			errs = append(errs, fmt.Errorf("%s.milli_cpu: must be at least 100, got %d", key, p.MilliCPU))
		}
		errs = append(errs, p.Limits.validate(key, p.Nodes)...)
		errs = append(errs, p.Offer.validate(key)...)
		same := func(o Plan) bool { return o.ID == p.ID || o.Name == p.Name }
		if j := slices.IndexFunc(c.Plans, same); j < i {
			errs = append(errs, fmt.Errorf("%s: has the id or the name of broker.plans[%d]", key, j))
		}
	}
	return errs
}

// plan returns the plan of that id.
func (c Config) plan(id string) (Plan, bool) {
	i := slices.IndexFunc(c.Plans, func(p Plan) bool { return p.ID == id })
	if i < 0 {
		return Plan{}, false
	}
	return c.Plans[i], true
}
