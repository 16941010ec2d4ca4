package state_test

import (
	"fmt"
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

func TestHistoryIsBoundedAndFound(t *testing.T) {
	var in state.Instance
	for i := range state.MaxHistory + 3 {
		in.Begin(state.Operation{ID: fmt.Sprint(i), State: state.Succeeded})
	}
	if len(in.History) != state.MaxHistory {
		t.Fatalf("history holds %d operations, want %d", len(in.History), state.MaxHistory)
	}
	for id, want := range map[string]bool{"1": false, "2": true, fmt.Sprint(state.MaxHistory + 2): true, "": false} {
		if op, found := in.Find(id); found != want || found && op.ID != id {
			t.Errorf("Find(%q) = %q, %t, want %t", id, op.ID, found, want)
		}
	}
}

func TestOperationCutShortHasFailed(t *testing.T) {
	var in state.Instance
	in.Begin(state.Operation{ID: "p", Type: state.Provision, State: state.InProgress})
	in.Begin(state.Operation{ID: "d", Type: state.Deprovision, State: state.InProgress})
	op, found := in.Find("p")
	if !found || op.State != state.Failed || op.Description != "ended by the operation deprovision" {
		t.Errorf("got %+v, %t", op, found)
	}
	if !in.Operation.Running() {
		t.Error("the new operation does not run")
	}
}
