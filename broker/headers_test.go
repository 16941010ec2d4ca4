package broker_test

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
)

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

func TestCatalogIsTagged(t *testing.T) {
	s := newSite(t)
	first := s.want(s.call("GET", "/v2/catalog", nil), http.StatusOK)
	tag := first.header.Get("ETag")
	s.headers = map[string]string{"If-None-Match": `"other", W/` + tag}
	if again := s.want(s.call("GET", "/v2/catalog", nil), http.StatusNotModified); again.body != "" {
		t.Errorf("a catalog that did not change is sent again: %s", again.body)
	}
	s.headers = map[string]string{"If-None-Match": `"other"`}
	s.want(s.call("GET", "/v2/catalog", nil), http.StatusOK)
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

func TestMaintenanceInfoMustBeTheCatalogs(t *testing.T) {
	s := newSite(t, "10.0.0.1")
	body := order(singlePlan)
	body["maintenance_info"] = map[string]any{"version": "99"}
	r := s.want(s.call("PUT", instancePath("i1")+"?accepts_incomplete=true", body), http.StatusUnprocessableEntity)
	if got := r.field(t, "error"); got != "MaintenanceInfoConflict" {
		t.Errorf("error is %q", got)
	}
	body["maintenance_info"] = map[string]any{"version": "1", "description": "as the platform keeps it"}
	s.want(s.call("PUT", instancePath("i1")+"?accepts_incomplete=true", body), http.StatusAccepted)
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
