package smoke_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pgpatron/pgpatron/broker/smoke"
	"github.com/pgpatron/pgpatron/state"
)

// answer is one that a broker gives.
type answer struct {
	status int
	body   string
}

// broker answers each path by its list, the last answer for ever.
func broker(t *testing.T, answers map[string][]answer) *smoke.Client {
	t.Helper()
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked := r.Method + " " + r.URL.Path
		list := answers[asked]
		if len(list) == 0 {
			t.Errorf("nobody should ask %s", asked)
			return
		}
		if len(list) > 1 {
			answers[asked] = list[1:]
		}
		w.WriteHeader(list[0].status)
		fmt.Fprint(w, list[0].body)
	}))
	t.Cleanup(server.Close)
	return &smoke.Client{URL: server.URL, Login: state.Credentials{Username: "u", Password: "p"}, HTTP: server.Client()}
}

const (
	instance = "/v2/service_instances/a"
	last     = "GET " + instance + "/last_operation"
)

var plan = smoke.Plan{Service: "s", ID: "p"}

func TestOperationsAreWaitedFor(t *testing.T) {
	c := broker(t, map[string][]answer{
		"PUT " + instance: {{202, "{}"}},
		last:              {{200, `{"state":"in progress"}`}, {503, `{}`}, {200, `{"state":"succeeded"}`}},
	})
	if err := c.Create(t.Context(), "a", plan); err != nil {
		t.Error(err)
	}
}

func TestWhatFailedIsTold(t *testing.T) {
	c := broker(t, map[string][]answer{
		"PUT " + instance:   {{202, "{}"}},
		"PATCH " + instance: {{422, `{"description":"no such parameter"}`}},
		last:                {{200, `{"state":"failed","description":"no backend has room"}`}},
	})
	if err := c.Create(t.Context(), "a", plan); err == nil || err.Error() != "no backend has room" {
		t.Errorf("got %v", err)
	}
	if err := c.Update(t.Context(), "a", plan, nil); err == nil || !strings.Contains(err.Error(), "422: no such parameter") {
		t.Errorf("got %v", err)
	}
}

// Whichever way a broker says that an instance is gone, it is deleted.
func TestDeletedIsGone(t *testing.T) {
	for _, gone := range []int{http.StatusGone, http.StatusNotFound} {
		atOnce := broker(t, map[string][]answer{"DELETE " + instance: {{gone, "{}"}}})
		if err := atOnce.Delete(t.Context(), "a", plan); err != nil {
			t.Errorf("%d: %v", gone, err)
		}
		later := broker(t, map[string][]answer{"DELETE " + instance: {{202, "{}"}}, last: {{200, `{"state":"in progress"}`}, {gone, "{}"}}})
		if err := later.Delete(t.Context(), "a", plan); err != nil {
			t.Errorf("%d: %v", gone, err)
		}
	}
}

func TestBindingWithoutURI(t *testing.T) {
	c := broker(t, map[string][]answer{"PUT " + instance + "/service_bindings/b": {{201, `{"credentials":{}}`}}})
	if _, err := c.Bind(t.Context(), "a", "b", plan); err == nil {
		t.Error("a binding without a uri was taken")
	}
}
