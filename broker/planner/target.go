package planner

import (
	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/state"
)

// Target is what an instance's cluster is to be.
type Target struct {
	Plan        catalog.Plan
	Nodes       int
	Synchronous bool
	Extensions  []string
	// Settings are those that the user has chosen, by name.
	Settings map[string]string
	// Spec is what every node is made from.
	Spec state.NodeSpec
	catalog.Actions
}

// NewTarget returns what an instance of a plan with these parameters is to be,
// made from spec.
func NewTarget(plan catalog.Plan, wanted catalog.Parameters, spec state.NodeSpec) Target {
	t := Target{Plan: plan, Nodes: plan.Nodes, Extensions: wanted.Extensions, Settings: map[string]string{}, Spec: spec}
	if wanted.NodeCount != nil {
		t.Nodes = *wanted.NodeCount
	}
	t.Synchronous = t.Nodes > 1 && (wanted.Synchronous == nil || *wanted.Synchronous)
	for name, value := range wanted.Settings {
		if value != nil {
			t.Settings[name] = *value
		}
	}
	return t
}
