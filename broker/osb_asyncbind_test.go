package broker_test

import (
	"net/http"
	"testing"
	"time"
)

// While the database does not answer, a platform that can poll is told to; one
// that cannot is told to ask again.
func TestBindAndUnbindTakeLong(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.provision("i1", singlePlan)
	s.stop()
	s.config.BindTimeout = 100 * time.Millisecond
	s.start()
	path := bindingPath("i1", "b1")
	poll := func(operation string) reply { return s.call("GET", path+"/last_operation?operation="+operation, nil) }

	s.database.setDown(true)
	s.want(s.call("PUT", path, bindOrder(singlePlan, nil)), http.StatusServiceUnavailable)
	bind := s.begin("PUT", path+"?accepts_incomplete=true", bindOrder(singlePlan, nil))
	if again := s.begin("PUT", path+"?accepts_incomplete=true", bindOrder(singlePlan, nil)); again != bind {
		t.Errorf("the repeated request has operation %q, the first %q", again, bind)
	}
	s.want(s.call("GET", path, nil), http.StatusNotFound)
	if r := s.want(poll(bind), http.StatusOK); r.field(t, "state") != "in progress" || r.header.Get("Retry-After") == "" {
		t.Errorf("got %v %s", r.header, r.body)
	}
	s.database.setDown(false)
	s.poll("the binding is made", func() bool { return s.want(poll(bind), http.StatusOK).field(t, "state") == "succeeded" })
	s.want(s.call("GET", path, nil), http.StatusOK)

	s.database.setDown(true)
	unbind := s.begin("DELETE", path+ids(singlePlan), nil)
	if r := s.want(poll(bind), http.StatusOK); r.field(t, "state") != "failed" {
		t.Errorf("the operation that made what is being deleted: %s", r.body)
	}
	if again := s.begin("DELETE", path+ids(singlePlan), nil); again != unbind {
		t.Errorf("the repeated request has operation %q, the first %q", again, unbind)
	}
	s.database.setDown(false)
	s.poll("the binding is gone", func() bool { return poll(unbind).status == http.StatusGone })
	s.want(poll(bind), http.StatusNotFound)
	s.want(s.call("PUT", path, bindOrder(singlePlan, nil)), http.StatusCreated)
	s.want(poll(unbind), http.StatusGone)
}
