package broker_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

// become makes op the operation of an instance.
func (s *site) become(id string, op state.Operation) {
	s.t.Helper()
	in := s.instance(id)
	in.Operation = op
	record, err := json.Marshal(in)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put(state.InstanceKey(id), string(record))
}

// TestWhatIsForeignIsLeftAlone: a broker is elected that knows less than the one
// that began an operation. It neither gives up nor goes on, however late it is.
func TestWhatIsForeignIsLeftAlone(t *testing.T) {
	s := newSite(t, "b1")
	s.provision("i", singlePlan)
	plan := func(kind state.StepKind) []state.Step { return []state.Step{{Kind: kind, Text: "do it"}} }
	for name, op := range map[string]state.Operation{
		"type":             {Type: "merge", Step: "plan", Plan: plan(state.AwaitNode)},
		"type at its end":  {Type: "merge", Step: "plan"},
		"journal step":     {Type: state.Arrival, Step: "flight", Plan: plan(state.AwaitCopy)},
		"step of an offer": {Type: state.Provision, Step: "plan", Plan: plan("paint")},
		"step of a change": {Type: state.Update, Step: "plan", Plan: plan("paint")},
		"step of a move":   {Type: state.Move, Step: "travel", Plan: plan("paint")},
		"step on arrival":  {Type: state.Arrival, Step: "travel", Plan: plan("paint")},
	} {
		op.ID, op.State, op.Description = "o", state.InProgress, "under way"
		s.become("i", op)
		s.provision("z", singlePlan) // meanwhile the broker has looked
		s.deprovision("z", singlePlan)
		if now := s.instance("i").Operation; now.Step != op.Step || now.Done != 0 || now.Failure != "" || !now.Running() {
			t.Errorf("%s: is now %+v", name, now)
		}
	}
	s.become("i", state.Operation{ID: "o", Type: "merge", Step: "plan", State: state.InProgress})
	s.provision("z", singlePlan)
	_, err := operatorOf(t, s).Abandon(t.Context(), "i")
	refused(t, err, http.StatusConflict, "does not know: merge")
}
