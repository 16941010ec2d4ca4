package broker_test

import (
	"net/http"
	"testing"
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
