// Package planner works out how a cluster becomes what is wanted: on which
// backends its nodes are, and in which steps they get there.
//
//	steps, err := planner.Plan(picture, planner.NewTarget(plan, parameters, spec), uuid.NewString)
//
// It is pure: it looks at what it is given and changes nothing.
package planner

import (
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// Picture is a cluster as it is, and what is around it.
type Picture struct {
	Cluster state.Cluster
	// Leader is the node that leads; empty if none does.
	Leader string
	// Sync says who follows synchronously.
	Sync patroni.Sync
	// Fleet is where there is room for nodes.
	Fleet Fleet
}

// Plan returns the steps that make a cluster what is wanted, none if everything
// is as it should be. New nodes are named by newID. The error is a
// catalog.Refusal or an Impossible.
func Plan(from Picture, want Target, newID func() string) ([]state.Step, error) {
	p := &planner{Picture: from, want: want, newID: newID}
	return p.plan()
}

// Impossible says why what is asked for can not be done to the cluster as it is.
type Impossible struct{ Reason string }

func (e Impossible) Error() string { return e.Reason }
