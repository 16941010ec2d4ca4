package catalog

import (
	"fmt"
	"slices"
)

// Limits are what users may change of an instance of a plan, and how far.
type Limits struct {
	// MinNodes and MaxNodes bound the nodes that a user may ask for. Default: a
	// plan of one node has one, any other from 2 to 5, or to Nodes.
	MinNodes int `yaml:"min_nodes"`
	MaxNodes int `yaml:"max_nodes"`
	// Fixed says that an instance of the plan never gets another one.
	Fixed bool `yaml:"fixed"`
	// Extensions are the PostgreSQL extensions that users may ask for. They must
	// be trusted ones: no superuser makes them. Default: DefaultExtensions.
	Extensions []string `yaml:"extensions"`
	// Settings are the PostgreSQL settings that users may change. Default:
	// DefaultSettings.
	Settings []Setting `yaml:"settings"`
}

// MostNodes bounds the nodes of any cluster.
const MostNodes = 9

// DefaultExtensions returns what comes with PostgreSQL and is trusted.
func DefaultExtensions() []string {
	return []string{
		"btree_gin", "btree_gist", "citext", "cube", "dict_int", "fuzzystrmatch", "hstore", "intarray", "isn", "lo",
		"ltree", "pg_trgm", "pgcrypto", "seg", "tablefunc", "tcn", "tsm_system_rows", "tsm_system_time", "unaccent", "uuid-ossp",
	}
}

// withDefaults fills in the limits of a plan of so many nodes.
func (l Limits) withDefaults(nodes int) Limits {
	least, most := 1, 1
	if nodes > 1 {
		least, most = 2, max(5, nodes)
	}
	if l.MinNodes == 0 {
		l.MinNodes = min(least, nodes)
	}
	if l.MaxNodes == 0 {
		l.MaxNodes = most
	}
	if l.Extensions == nil {
		l.Extensions = DefaultExtensions()
	}
	if l.Settings == nil {
		l.Settings = DefaultSettings()
	}
	return l
}

// validate reports what is wrong with the limits of the plan at key.
func (l Limits) validate(key string, nodes int) []error {
	var errs []error
	if l.MinNodes < 1 || l.MinNodes > nodes || l.MaxNodes < nodes || l.MaxNodes > MostNodes {
		errs = append(errs, fmt.Errorf("%s.min_nodes, max_nodes: must be from 1 to %d with nodes, %d, between them, got %d and %d",
			key, MostNodes, nodes, l.MinNodes, l.MaxNodes))
	}
	if slices.Contains(l.Extensions, "") {
		errs = append(errs, fmt.Errorf("%s.extensions: must not hold empty names", key))
	}
	for i, s := range l.Settings {
		if err := s.validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s.settings[%d]: %w", key, i, err))
		}
	}
	return errs
}

// setting returns the setting of that name that users may change.
func (l Limits) setting(name string) (Setting, bool) {
	i := slices.IndexFunc(l.Settings, func(s Setting) bool { return s.Name == name })
	if i < 0 {
		return Setting{}, false
	}
	return l.Settings[i], true
}
