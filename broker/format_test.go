package broker_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// records returns every record that a broker writes, with the revision of its last
// change.
func (s *site) records() []string {
	s.t.Helper()
	var all []string
	for _, prefix := range []string{"/service", "/routing/", "/plans/"} {
		resp, err := s.client.Get(s.t.Context(), prefix, clientv3.WithPrefix())
		if err != nil {
			s.t.Fatal(err)
		}
		for _, kv := range resp.Kvs {
			all = append(all, fmt.Sprintf("%s@%d", kv.Key, kv.ModRevision))
		}
	}
	return all
}

// isDriven reports whether a broker is elected.
func (s *site) isDriven() bool {
	s.t.Helper()
	_, _, elected := s.value(state.ElectionKey("broker"))
	return elected
}

// A site of before gets this program's version with the first change.
func TestBrokerKeepsEarlierOnesOut(t *testing.T) {
	s := newSite(t, "b1")
	s.provision("i", singlePlan)
	if got, _, _ := s.value(state.FormatKey()); got != strconv.Itoa(state.RecordVersion) {
		t.Errorf("the site is of version %q", got)
	}
}

// A broker that is older than the site's records changes nothing, says why, and
// leaves its office to others. It serves again when it may.
func TestOutdatedBrokerChangesNothing(t *testing.T) {
	s := newSite(t, "b1")
	s.provision("i", singlePlan)
	s.poll("the broker is elected", s.isDriven)
	later := strconv.Itoa(state.RecordVersion + 1)
	s.put(state.FormatKey(), later)
	s.poll("the broker gives its office up", func() bool { return !s.isDriven() })

	before := s.records()
	for _, refused := range []struct {
		method, path string
		body         any
	}{
		{"PUT", async("j"), order(singlePlan)},
		{"DELETE", instancePath("i") + ids(singlePlan), nil},
		{"PUT", bindingPath("i", "b"), bindOrder(singlePlan, nil)},
		{"GET", pollPath("i", ""), nil},
	} {
		r := s.want(s.call(refused.method, refused.path, refused.body), http.StatusServiceUnavailable)
		for _, want := range []string{"up to version " + strconv.Itoa(state.RecordVersion), "of version " + later, "install the pgpatron"} {
			if got := r.field(t, "description"); !strings.Contains(got, want) {
				t.Errorf("%s %s: %q does not say %q", refused.method, refused.path, got, want)
			}
		}
	}
	s.want(s.call("GET", "/v2/catalog", nil), http.StatusOK)
	s.want(s.call("GET", "/healthz", nil), http.StatusServiceUnavailable)
	if after := s.records(); !slices.Equal(before, after) {
		t.Errorf("records were changed: %v, then %v", before, after)
	}

	s.put(state.FormatKey(), strconv.Itoa(state.RecordVersion))
	s.poll("the broker serves again", func() bool { return s.call("GET", "/healthz", nil).status == http.StatusOK })
	s.provision("j", singlePlan)
}
