package federation

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pgpatron/pgpatron/state"
)

// Config configures a Federation.
type Config struct {
	// DC is the site's name: a DNS label, the same for good.
	DC string
	// Listen is the host:port on which other sites, and pgpatron dc, are served.
	Listen string
	// Address is the host:port at which other sites reach it. Default: Listen.
	Address string
	// Files are the certificates. The site's own names DC as its common name and
	// as a DNS name.
	Files Files
	// JoinToken has to be shown by whoever invites this site. Empty: nobody may.
	JoinToken state.Secret
	// Ports is the range of public ports, the same as the broker's.
	Ports state.Ports
	// Lease is how long a site keeps still for a transaction that it hears
	// nothing of. Default 30 s.
	Lease time.Duration
	// Patience is how long a site may take to answer. Default a sixth of Lease.
	Patience time.Duration
	// Interval is how often the site looks after what is under way, and Greeting
	// how often it asks another member for news. Default 1 s and 5 s.
	Interval, Greeting time.Duration
	// Grace is how long a global port may have no instance before it is given
	// back. Default 2 minutes.
	Grace time.Duration
	// Hostname names this process where it is elected.
	Hostname string
	// Log defaults to slog.Default.
	Log *slog.Logger
	// Metrics takes the metrics. nil: they are not registered.
	Metrics prometheus.Registerer

	// at is told of every step that this process has taken, for tests that end
	// it there.
	at func(point string)
}

// WithDefaults returns the configuration with every default filled in.
func (c Config) WithDefaults() Config {
	if c.Address == "" {
		c.Address = c.Listen
	}
	if c.Ports == (state.Ports{}) {
		c.Ports = state.Ports{First: 30000, Last: 30999}
	}
	for _, d := range []struct {
		field *time.Duration
		def   time.Duration
	}{
		{&c.Lease, 30 * time.Second},
		{&c.Interval, time.Second},
		{&c.Greeting, 5 * time.Second},
		{&c.Grace, 2 * time.Minute},
	} {
		if *d.field == 0 {
			*d.field = d.def
		}
	}
	if c.Patience == 0 {
		c.Patience = c.Lease / 6
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.at == nil {
		c.at = func(string) {}
	}
	return c
}

// Validate reports every problem at once, each naming its key.
func (c Config) Validate() error {
	var errs []error
	if _, err := ParseName(c.DC); err != nil {
		errs = append(errs, fmt.Errorf("federation.dc: %w", err))
	}
	if c.Listen == "" {
		errs = append(errs, errors.New("federation.listen: must be set"))
	}
	if _, err := ParseAddress(c.Address); err != nil {
		errs = append(errs, fmt.Errorf("federation.address: %w", err))
	}
	if c.Lease < 2*time.Second || c.Lease > maxTTL {
		errs = append(errs, fmt.Errorf("federation.lease: must be from 2s to %v, got %v", maxTTL, c.Lease))
	}
	if c.Patience <= 0 || c.Patience > c.Lease/2 {
		errs = append(errs, fmt.Errorf("federation.patience: must be positive and at most half of lease, got %v", c.Patience))
	}
	return errors.Join(append(errs, c.Files.validate()...)...)
}
