package catalog

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
)

// Service is how the service shows itself in marketplaces. What is empty has a
// default or is left out.
type Service struct {
	DisplayName      string `yaml:"display_name"`
	LongDescription  string `yaml:"long_description"`
	Provider         string `yaml:"provider"`
	DocumentationURL string `yaml:"documentation_url"`
	SupportURL       string `yaml:"support_url"`
	// ImageURL is of the service's icon: an address, or a data: URL.
	ImageURL string `yaml:"image_url"`
}

// Offer is how a plan shows itself in marketplaces, and how often it is given.
type Offer struct {
	// DisplayName defaults to the plan's name.
	DisplayName string `yaml:"display_name"`
	// Bullets default to what the plan's nodes are.
	Bullets []string `yaml:"bullets"`
	Costs   []Cost   `yaml:"costs"`
	// Free defaults to whether there are no Costs.
	Free *bool `yaml:"free"`
	// Metadata is shown beside the rest, by keys of its own.
	Metadata map[string]any `yaml:"metadata"`
	// MaxInstances is how many instances may have the plan at a time. 0: any number.
	MaxInstances int `yaml:"max_instances"`
	// MaxSessions is how many clients each router serves an instance at once. 0:
	// the router decides.
	MaxSessions int `yaml:"max_sessions"`
	// RequireTLS has clients refused that do not speak TLS.
	RequireTLS bool `yaml:"require_tls"`
}

// Cost is what a plan costs for each unit.
type Cost struct {
	// Amount is the price by currency, such as eur: 9.5.
	Amount map[string]float64 `yaml:"amount"`
	// Unit is what is paid for, such as MONTHLY or 1GB of messages.
	Unit string `yaml:"unit"`
}

// WithDefaults returns the service with every default filled in.
func (s Service) WithDefaults() Service {
	s.DisplayName = cmp.Or(s.DisplayName, "PostgreSQL")
	s.LongDescription = cmp.Or(s.LongDescription, "A PostgreSQL cluster run by Patroni. Its host and port never change; when its leader dies, a standby takes over in about a second.")
	s.Provider = cmp.Or(s.Provider, "pgpatron")
	return s
}

// Validate reports every problem, each naming its key.
func (s Service) Validate() []error {
	var errs []error
	for _, field := range []struct {
		key, value string
		schemes    []string
	}{
		{"documentation_url", s.DocumentationURL, []string{"http", "https"}},
		{"support_url", s.SupportURL, []string{"http", "https", "mailto"}},
		{"image_url", s.ImageURL, []string{"http", "https", "data"}},
	} {
		if field.value == "" {
			continue
		}
		if u, err := url.Parse(field.value); err != nil || !slices.Contains(field.schemes, u.Scheme) {
			errs = append(errs, fmt.Errorf("broker.service.%s: must be a URL of scheme %q, got %q", field.key, field.schemes, field.value))
		}
	}
	return errs
}

// validate reports what is wrong with the offer of the plan at key.
func (o Offer) validate(key string) []error {
	var errs []error
	if o.MaxInstances < 0 {
		errs = append(errs, fmt.Errorf("%s.max_instances: must not be negative, got %d", key, o.MaxInstances))
	}
	if o.MaxSessions < 0 {
		errs = append(errs, fmt.Errorf("%s.max_sessions: must not be negative, got %d", key, o.MaxSessions))
	}
	if slices.Contains(o.Bullets, "") {
		errs = append(errs, fmt.Errorf("%s.bullets: must not hold empty ones", key))
	}
	for i, c := range o.Costs {
		if err := c.validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s.costs[%d]: %w", key, i, err))
		}
	}
	for _, taken := range []string{"displayName", "bullets", "costs"} {
		if _, ok := o.Metadata[taken]; ok {
			errs = append(errs, fmt.Errorf("%s.metadata.%s: has a key of its own", key, taken))
		}
	}
	if _, err := json.Marshal(o.Metadata); err != nil {
		errs = append(errs, fmt.Errorf("%s.metadata: can not be told as JSON: %w", key, err))
	}
	return errs
}

func (c Cost) validate() error {
	if len(c.Amount) == 0 || c.Unit == "" {
		return errors.New("amount and unit must be set")
	}
	for currency, amount := range c.Amount {
		if currency == "" || !(amount >= 0) {
			return fmt.Errorf("amount: must name a currency and not be negative, got %s: %v", currency, amount)
		}
	}
	return nil
}

// CostsNothing reports whether the plan costs nothing.
func (o Offer) CostsNothing() bool {
	if o.Free != nil {
		return *o.Free
	}
	return len(o.Costs) == 0
}
