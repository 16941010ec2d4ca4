package broker

import (
	"slices"
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

// What is done of a plan stays in it, and why the rest is not stands beside it.
func TestTakenBackFromWhereItIs(t *testing.T) {
	steps := []state.Step{{Kind: state.Configure}, {Kind: state.ReshapeNode, Node: "n"}}
	op := state.Operation{Plan: slices.Clone(steps), Done: 1}
	takeBack(&op, state.Cluster{Nodes: []state.Node{{NodeID: "n", BackendID: "a"}}}, "why")
	if op.Failure != "why" || op.Done != 1 || op.Plan[0].Kind != state.Configure || op.StepSince.IsZero() {
		t.Errorf("taken back as %+v", op)
	}
	if current, _ := op.Current(); current.Text != "restart the node on a as it was" {
		t.Errorf("goes on with %q", current.Text)
	}
}
