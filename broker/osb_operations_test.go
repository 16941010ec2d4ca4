package broker_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

func TestDescriptionTellsTheStep(t *testing.T) {
	s := newSite(t, "10.0.0.1", "10.0.0.2")
	s.nodes.Hold()
	operation := s.want(s.call("PUT", instancePath("i1")+"?accepts_incomplete=true", order(clusterPlan)), http.StatusAccepted).field(t, "operation")
	s.poll("the description counts nodes", func() bool {
		r := s.call("GET", instancePath("i1")+"/last_operation?operation="+operation, nil)
		return r.field(t, "description") == "0 of 2 nodes running"
	})
	s.database.setDown(true)
	s.nodes.Release()
	s.poll("the description names the port", func() bool {
		r := s.call("GET", instancePath("i1")+"/last_operation?operation="+operation, nil)
		return r.field(t, "description") == "waiting for a write through port 30000"
	})
	s.database.setDown(false)
	s.await("i1", operation, "succeeded")
}

func TestRetryAfter(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.nodes.Hold()
	operation := s.want(s.call("PUT", instancePath("i1")+"?accepts_incomplete=true", order(singlePlan)), http.StatusAccepted).field(t, "operation")
	poll := instancePath("i1") + "/last_operation?operation=" + operation
	if got := s.call("GET", poll, nil).header.Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After of a running operation is %q, want 2", got)
	}
	s.nodes.Release()
	if got := s.await("i1", operation, "succeeded").header.Get("Retry-After"); got != "" {
		t.Errorf("Retry-After of an ended operation is %q", got)
	}
}

const concurrencySays = "The Service Broker does not support concurrent requests that mutate the same resource."

// One operation at a time: the second is told so in the words that clients compare.
func TestSecondOperationIsRefused(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	refused := func(r reply) {
		t.Helper()
		s.want(r, http.StatusUnprocessableEntity)
		if r.field(t, "error") != "ConcurrencyError" || r.field(t, "description") != concurrencySays {
			t.Errorf("got %s", r.body)
		}
	}
	s.nodes.Hold()
	operation := s.begin("PUT", async("i1"), order(singlePlan))
	refused(s.call("PUT", bindingPath("i1", "b1"), bindOrder(singlePlan, nil)))
	s.want(s.call("GET", instancePath("i1"), nil), http.StatusNotFound)
	s.nodes.Release()
	s.await("i1", operation, "succeeded")
	s.want(s.call("PUT", bindingPath("i1", "b1"), bindOrder(singlePlan, nil)), http.StatusCreated)
	s.nodes.Hold()
	first := s.begin("DELETE", instancePath("i1")+ids(singlePlan), nil)
	refused(s.call("PUT", async("i1"), order(singlePlan)))
	refused(s.call("PUT", bindingPath("i1", "b1"), bindOrder(singlePlan, nil)))
	refused(s.call("PUT", bindingPath("i1", "b2"), bindOrder(singlePlan, nil)))
	refused(s.call("DELETE", bindingPath("i1", "b1")+ids(singlePlan), nil))
	refused(s.call("GET", instancePath("i1"), nil))
	if again := s.begin("DELETE", instancePath("i1")+ids(singlePlan), nil); again != first {
		t.Errorf("the repeated DELETE has operation %q, the first %q", again, first)
	}
	s.nodes.Release()
	s.poll("the instance is gone", func() bool { return s.call("GET", pollPath("i1", first), nil).status == http.StatusGone })
	s.want(s.call("DELETE", instancePath("i1")+ids(singlePlan), nil), http.StatusGone)
	s.want(s.call("GET", pollPath("i1", operation), nil), http.StatusNotFound)
}

// An operation is answered for also when others came after it.
func TestOperationsOfBefore(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.nodes.Hold()
	provision := s.begin("PUT", async("i1"), order(singlePlan))
	deprovision := s.begin("DELETE", instancePath("i1")+ids(singlePlan), nil)
	r := s.want(s.call("GET", pollPath("i1", provision), nil), http.StatusOK)
	if r.field(t, "state") != "failed" || r.field(t, "description") != "ended by the operation deprovision" {
		t.Errorf("the provision that was cut short: %s", r.body)
	}
	for operation, want := range map[string]string{deprovision: "in progress", "": "in progress"} {
		if r := s.want(s.call("GET", pollPath("i1", operation), nil), http.StatusOK); r.field(t, "state") != want {
			t.Errorf("operation %q: %s, want %s", operation, r.body, want)
		}
	}
	s.want(s.call("GET", pollPath("i1", "update-nobody-knows"), nil), http.StatusNotFound)
	s.nodes.Release()
	s.poll("the instance is gone", func() bool { return s.call("GET", pollPath("i1", deprovision), nil).status == http.StatusGone })
	s.provision("i1", singlePlan)
	s.want(s.call("GET", pollPath("i1", deprovision), nil), http.StatusGone)
}

// After a failed update the platform is told whether the instance still serves,
// and an instance that does can be bound.
func TestUsableAfterAFailedUpdate(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	for _, usable := range []bool{true, false} {
		edit(s, state.InstanceKey("i1"), func(in *state.Instance) {
			repeatable := !usable
			in.Operation = state.Operation{
				ID: "update-1", Type: "update", State: state.Failed, Description: "no backend is free",
				InstanceUsable: &usable, UpdateRepeatable: &repeatable,
			}
		})
		r := s.want(s.call("GET", pollPath("i1", "update-1"), nil), http.StatusOK)
		if got, want := r.field(t, "instance_usable")+" "+r.field(t, "update_repeatable"), fmt.Sprint(usable, " ", !usable); got != want || r.field(t, "state") != "failed" {
			t.Errorf("instance_usable and update_repeatable are %s, want %s: %s", got, want, r.body)
		}
		status := map[bool]int{true: http.StatusCreated, false: http.StatusBadRequest}[usable]
		s.want(s.call("PUT", bindingPath("i1", fmt.Sprint("b-", usable)), bindOrder(singlePlan, nil)), status)
	}
}
