package broker_test

import (
	"slices"
	"testing"

	"github.com/pgpatron/pgpatron/broker"
	"github.com/pgpatron/pgpatron/state"
)

// Wherever an operation is, the list of steps names it.
func TestPlaceIsAStep(t *testing.T) {
	plan := []state.Step{{Kind: state.AddNode}, {Kind: state.ProveWrite}}
	for _, c := range []struct {
		op   state.Operation
		want string
	}{
		{state.Operation{State: state.InProgress, Step: "nodes"}, "nodes"},
		{state.Operation{State: state.InProgress, Step: "release"}, "release"},
		{state.Operation{State: state.InProgress, Step: "plan", Plan: plan}, "add node"},
		{state.Operation{State: state.InProgress, Step: "plan", Plan: plan, Done: 1}, "prove write"},
		{state.Operation{State: state.InProgress, Step: "plan", Plan: plan, Done: 2}, ""},
		{state.Operation{State: state.InProgress, Step: "travel", Plan: plan, Done: 1}, "prove write"},
		{state.Operation{State: state.Succeeded, Step: "nodes"}, ""},
	} {
		got := broker.Place(c.op)
		if got != c.want || got != "" && !slices.Contains(broker.Steps(), got) {
			t.Errorf("%+v is at %q, want %q, one of %q", c.op, got, c.want, broker.Steps())
		}
	}
}
