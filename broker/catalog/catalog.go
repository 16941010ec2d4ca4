// Package catalog is what users may order and change, and how far: plans with
// their limits, settings and offers, the schemas that tell users, and the
// parameters that users give.
//
//	plan = plan.WithDefaults()
//	wanted, err := plan.ProvisionParameters(raw)
//
// What it does not take it refuses with a [Refusal]. It knows nothing of HTTP,
// and nothing of how an instance comes to be as its user wants it.
package catalog

import (
	"fmt"
	"slices"
)

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

// WithDefaults returns the plan with every default filled in.
func (p Plan) WithDefaults() Plan {
	p.Limits = p.Limits.withDefaults(p.Nodes)
	return p
}

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

// Validate reports every problem of the plans that stand at a key of the
// configuration, each naming its own.
func Validate(at string, plans []Plan) []error {
	var errs []error
	for i, p := range plans {
		key := fmt.Sprintf("%s[%d]", at, i)
		if p.ID == "" || p.Name == "" || p.Description == "" {
			errs = append(errs, fmt.Errorf("%s: id, name and description must be set", key))
		}
		if p.Nodes < 1 || p.Nodes > MostNodes {
			errs = append(errs, fmt.Errorf("%s.nodes: must be from 1 to %d, got %d", key, MostNodes, p.Nodes))
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
		if j := slices.IndexFunc(plans, same); j < i {
			errs = append(errs, fmt.Errorf("%s: has the id or the name of %s[%d]", key, at, j))
		}
	}
	return errs
}
