package patroni_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// What Patroni 4.0.7 answered, to the letter.
const (
	primaryStatus = `{"state": "running", "postmaster_start_time": "2026-11-21 09:19:31.702886+00:00", "role": "primary", "server_version": 170012, "xlog": {"location": 52361000}, "timeline": 1, "replication": [{"usename": "replicator", "application_name": "15472ef1-32c3-4893-8cbe-14659a67c450", "client_addr": "172.17.0.1", "state": "streaming", "sync_state": "sync", "sync_priority": 1}], "dcs_last_seen": 1795253046, "database_system_identifier": "7710551936575447069", "patroni": {"version": "4.0.7", "scope": "s3", "name": "520f661a-8452-4c3a-ad1d-87c72b28e7f0"}}`
	replicaStatus = `{"state": "running", "postmaster_start_time": "2026-11-21 09:19:33.453500+00:00", "role": "replica", "server_version": 170012, "xlog": {"received_location": 52361000, "replayed_location": 52360000, "replayed_timestamp": "2026-11-21 09:23:54.794377+00:00", "paused": false}, "sync_standby": true, "timeline": 1, "replication_state": "streaming", "dcs_last_seen": 1795253045, "database_system_identifier": "7710551936575447069", "patroni": {"version": "4.0.7", "scope": "s3", "name": "15472ef1-32c3-4893-8cbe-14659a67c450"}}`
	configBody    = `{"ttl": 20, "loop_wait": 2, "synchronous_mode": true, "postgresql": {"use_slots": true}}`
	badRequest    = "<!DOCTYPE HTML>\n<html lang=\"en\">\n    <head>\n        <title>Error response</title>\n    </head>\n    <body>\n        <p>Message: Bad Request.</p>\n    </body>\n</html>\n"
)

// exchange is one request as a scripted Patroni got it, with its answer.
type exchange struct {
	method, path string
	body         string
	code         int
	answer       string
}

// patroniServer answers exactly one exchange, and demands the login with what
// is not a GET, as Patroni does.
func patroniServer(t *testing.T, want exchange) *patroni.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if r.Method == http.MethodGet && ok {
			t.Errorf("%s %s carries a login", r.Method, r.URL.Path)
		}
		if r.Method != http.MethodGet && (user != "patroni" || password != "rest-secret") {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, "not authenticated")
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Method != want.method || r.URL.Path != want.path || string(body) != want.body {
			t.Errorf("got %s %s %s, want %s %s %s", r.Method, r.URL.Path, body, want.method, want.path, want.body)
		}
		w.WriteHeader(want.code)
		io.WriteString(w, want.answer)
	}))
	t.Cleanup(server.Close)
	return newClient(t, server.URL+"/patroni")
}

func newClient(t *testing.T, apiURL string) *patroni.Client {
	t.Helper()
	c, err := patroni.NewClient(apiURL, state.Credentials{Username: "patroni", Password: "rest-secret"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientStatus(t *testing.T) {
	c := patroniServer(t, exchange{"GET", "/patroni", "", 200, replicaStatus})
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := patroni.Status{
		Role: "replica", State: "running", ServerVersion: 170012, Timeline: 1,
		XLog:             patroni.XLog{ReceivedLocation: 52361000, ReplayedLocation: 52360000},
		ReplicationState: "streaming", SyncStandby: true,
		DCSLastSeen: 1795253045, SystemID: "7710551936575447069",
	}
	want.Patroni.Version, want.Patroni.Scope, want.Patroni.Name = "4.0.7", "s3", "15472ef1-32c3-4893-8cbe-14659a67c450"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status differs (-want +got):\n%s", diff)
	}
	if got.IsPrimary() || !got.IsRunning() {
		t.Error("a running replica says otherwise")
	}
}

func TestClientIsPrimary(t *testing.T) {
	for name, test := range map[string]struct {
		code   int
		answer string
		want   bool
		fails  bool
	}{
		"leader":                         {200, primaryStatus, true, false},
		"replica":                        {503, replicaStatus, false, false},
		"primary without the key":        {503, primaryStatus, false, false},
		"leader that is not yet primary": {200, replicaStatus, false, false},
		"broken":                         {500, "oops", false, true},
		"not Patroni":                    {200, "<html>", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := patroniServer(t, exchange{"GET", "/primary", "", test.code, test.answer})
			got, err := c.IsPrimary(t.Context())
			if got != test.want || (err != nil) != test.fails {
				t.Errorf("got %v and error %v, want %v and an error: %v", got, err, test.want, test.fails)
			}
		})
	}
}

func TestClientActions(t *testing.T) {
	for name, test := range map[string]struct {
		want exchange
		do   func(context.Context, *patroni.Client) error
	}{
		"switchover": {
			exchange{"POST", "/switchover", `{"candidate":"b","leader":"a"}`, 200, `Successfully switched over to "b"`},
			func(ctx context.Context, c *patroni.Client) error { return c.Switchover(ctx, "a", "b") },
		},
		"switchover to anybody": {
			exchange{"POST", "/switchover", `{"leader":"a"}`, 200, `Successfully switched over to "b"`},
			func(ctx context.Context, c *patroni.Client) error { return c.Switchover(ctx, "a", "") },
		},
		"reinitialize": {
			exchange{"POST", "/reinitialize", `{"force":true}`, 200, "reinitialize started"},
			func(ctx context.Context, c *patroni.Client) error { return c.Reinitialize(ctx, true) },
		},
		"restart": {
			exchange{"POST", "/restart", `{}`, 200, "restarted successfully"},
			func(ctx context.Context, c *patroni.Client) error { return c.Restart(ctx) },
		},
		"wake": {
			exchange{"PATCH", "/config", `{"pgpatron_wake":null}`, 200, configBody},
			func(ctx context.Context, c *patroni.Client) error { return c.Wake(ctx) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.do(t.Context(), patroniServer(t, test.want)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestClientConfig(t *testing.T) {
	var want map[string]any
	if err := json.Unmarshal([]byte(configBody), &want); err != nil {
		t.Fatal(err)
	}
	got, err := patroniServer(t, exchange{"GET", "/config", "", 200, configBody}).Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config differs (-want +got):\n%s", diff)
	}
	c := patroniServer(t, exchange{"PATCH", "/config", `{"synchronous_mode":false,"x":null}`, 200, configBody})
	got, err = c.PatchConfig(t.Context(), map[string]any{"synchronous_mode": false, "x": nil})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("patched config differs (-want +got):\n%s", diff)
	}
}

func TestClientStatusError(t *testing.T) {
	for name, test := range map[string]struct {
		code         int
		answer, want string
	}{
		"words":       {412, "leader name does not match", "patroni answered POST /restart with 412: leader name does not match"},
		"page":        {400, badRequest, "patroni answered POST /restart with 400: Bad Request"},
		"nothing":     {503, "", "patroni answered POST /restart with 503: Service Unavailable"},
		"echo":        {500, "got rest-secret", "patroni answered POST /restart with 500: got [redacted]"},
		"several":     {500, "one\n  two\x00", "patroni answered POST /restart with 500: one two\x00"},
		"very long":   {500, strings.Repeat("ü", 500), "patroni answered POST /restart with 500: " + strings.Repeat("ü", 100) + "…"},
		"not allowed": {401, "not authenticated", "patroni answered POST /restart with 401: not authenticated"},
	} {
		t.Run(name, func(t *testing.T) {
			err := patroniServer(t, exchange{"POST", "/restart", "{}", test.code, test.answer}).Restart(t.Context())
			refused, ok := errors.AsType[*patroni.StatusError](err)
			if !ok || refused.Code != test.code || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestClientEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := newClient(t, server.URL).Status(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want the deadline's", err)
	}
}

func TestNewClientRefuses(t *testing.T) {
	for _, apiURL := range []string{"", "172.17.0.1:8008", "postgres://172.17.0.1/x", "http://", "http://%zz"} {
		if _, err := patroni.NewClient(apiURL, state.Credentials{}, nil); err == nil {
			t.Errorf("%q gave no error", apiURL)
		}
	}
	if _, err := patroni.NewClient("http://[fd00::1]:8008/patroni", state.Credentials{}, nil); err != nil {
		t.Errorf("IPv6: %v", err)
	}
}

func TestClientHidesItsLogin(t *testing.T) {
	if text := fmt.Sprintf("%+v", newClient(t, "http://a:1/patroni")); text != "http://a:1" {
		t.Errorf("a client prints as %s", text)
	}
}
