package broker_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
)

func TestLoginAndVersionAreChecked(t *testing.T) {
	s := newSite(t)
	for name, test := range map[string]struct {
		user, version string
		status        int
	}{
		"wrong user":    {"else", "2.17", 401},
		"no version":    {"cf", "", 412},
		"other version": {"cf", "3.0", 412},
		"junk version":  {"cf", "2.17abc", 412},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/v2/catalog", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth(test.user, "secret")
			r.Header.Set("X-Broker-API-Version", test.version)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var body struct{ Description string }
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Description == "" {
				t.Errorf("answer has no description (%v)", err)
			}
			if resp.StatusCode != test.status {
				t.Errorf("got %d, want %d", resp.StatusCode, test.status)
			}
		})
	}
}

func TestPreviousLoginIsLetInUntilItIsDropped(t *testing.T) {
	s := newSite(t)
	old := "Basic " + base64.StdEncoding.EncodeToString([]byte("old:before"))
	s.headers = map[string]string{"Authorization": old}
	s.want(s.call("GET", "/v2/catalog", nil), http.StatusUnauthorized)
	s.stop()
	s.config.PreviousUsername, s.config.PreviousPassword = "old", "before"
	s.start()
	s.want(s.call("GET", "/v2/catalog", nil), http.StatusOK)
	s.headers = nil
	s.want(s.call("GET", "/v2/catalog", nil), http.StatusOK)
}

func TestRequestIdentityIsEchoed(t *testing.T) {
	s := newSite(t)
	const header = "X-Broker-API-Request-Identity"
	for name, headers := range map[string]map[string]string{
		"answered":      {header: "r1"},
		"wrong version": {header: "r1", "X-Broker-API-Version": "1.0"},
		"wrong login":   {header: "r1", "Authorization": "Basic nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			s.headers = headers
			if got := s.call("GET", "/v2/catalog", nil).header.Get(header); got != "r1" {
				t.Errorf("%s is %q, want r1", header, got)
			}
		})
	}
}

func TestChangesAreAudited(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	s.stop()
	var log locked
	s.config.Log = slog.New(slog.NewTextHandler(&log, nil))
	s.start()
	s.awaitBackend()
	user := base64.StdEncoding.EncodeToString([]byte(`{"user_id":"u-1","username":"ada"}`))
	for header, who := range map[string]string{
		"cloudfoundry " + user: `who="cloudfoundry: u-1 ada"`,
		"kubernetes junk":      `who="kubernetes: unreadable"`,
		"":                     `who=""`,
	} {
		s.headers = map[string]string{"X-Broker-API-Originating-Identity": header, "X-Broker-API-Request-Identity": "r-7"}
		s.call("DELETE", instancePath("i1")+ids(singlePlan), nil)
		if got := log.String(); !strings.Contains(got, who) {
			t.Errorf("audit of a request by %q does not say %s:\n%s", header, who, got)
		}
	}
	for _, want := range []string{"msg=audit", "method=DELETE", "instance=i1", "request=r-7", "status=410"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("audit does not say %s", want)
		}
	}
}

// locked is a buffer that several goroutines may use.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Nothing of the API is answered without a login, and the answer says what to do.
func TestEveryRouteAsksForALogin(t *testing.T) {
	s := newSite(t)
	s.headers = map[string]string{"Authorization": "Basic bm9ib2R5Om5vdGhpbmc="}
	for _, route := range routes {
		r := s.want(s.call(route.method, route.path, route.body), http.StatusUnauthorized)
		if r.field(t, "description") == "" || !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Basic ") || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v %s", route.method, route.path, r.header, r.body)
		}
	}
}

func TestEveryRouteChecksTheVersion(t *testing.T) {
	s := newSite(t)
	for _, version := range []string{"", "1.9", "3.0", "2", "2.x", "2.17abc"} {
		s.headers = map[string]string{"X-Broker-API-Version": version}
		for _, route := range routes {
			r := s.call(route.method, route.path, route.body)
			if r.status != http.StatusPreconditionFailed || r.field(t, "description") == "" {
				t.Errorf("version %q, %s %s: got %d %s", version, route.method, route.path, r.status, r.body)
			}
		}
	}
}

// routes are all of the API's.
var routes = []struct {
	method, path string
	body         any
}{
	{"GET", "/v2/catalog", nil},
	{"GET", instancePath("i"), nil},
	{"PUT", instancePath("i"), order(singlePlan)},
	{"PATCH", instancePath("i"), order(singlePlan)},
	{"DELETE", instancePath("i") + ids(singlePlan), nil},
	{"GET", instancePath("i") + "/last_operation", nil},
	{"GET", bindingPath("i", "b"), nil},
	{"PUT", bindingPath("i", "b"), order(singlePlan)},
	{"DELETE", bindingPath("i", "b") + ids(singlePlan), nil},
	{"GET", bindingPath("i", "b") + "/last_operation", nil},
}
