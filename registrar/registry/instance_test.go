package registry_test

import (
	"testing"

	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

func TestInstanceIsCompletedFromItsURLOrItsParts(t *testing.T) {
	s := newSite(t)
	for _, tc := range []struct {
		body string
		want map[string]any
	}{
		{
			`{"id": "a", "url": "https://my.host/path"}`,
			map[string]any{"url": "https://my.host/path", "scheme": "https", "host": "my.host", "ip": nil, "port": 443.0, "path": "/path"},
		},
		{
			`{"id": "b", "scheme": "http", "ip": "10.0.0.7", "port": 8080, "path": "/x"}`,
			map[string]any{"url": "http://10.0.0.7:8080/x", "scheme": "http", "host": nil, "ip": "10.0.0.7", "port": 8080.0, "path": "/x"},
		},
		{
			`{"id": "c", "scheme": "tcp", "host": "my.host", "ip": "10.0.0.7", "port": 9}`,
			map[string]any{"url": "tcp://my.host:9", "scheme": "tcp", "host": "my.host", "ip": "10.0.0.7", "port": 9.0, "path": nil},
		},
		{
			`{"id": "d", "url": "postgresql://[2001:db8::1]"}`,
			map[string]any{"url": "postgresql://[2001:db8::1]", "scheme": "postgresql", "host": nil, "ip": "2001:db8::1", "port": 5432.0, "path": nil},
		},
	} {
		got := s.put("instance", tc.body)
		for field, want := range tc.want {
			if got[field] != want {
				t.Errorf("%s: %s is %v, want %v", tc.body, field, got[field], want)
			}
		}
		if got["status"] != "Unknown" || got["lastHeartbeat"] == nil {
			t.Errorf("%s: %v, want status Unknown and a heartbeat", tc.body, got)
		}
	}
	for _, tc := range []struct{ body, text, field string }{
		{`{}`, "must be set", "url"},
		{`{"url": "nowhere"}`, "must be a URL", "url"},
		{`{"url": "http://me:secret@host"}`, "without a login", "url"},
		{`{"url": "tcp://host"}`, "must name a port", "url"},
		{`{"url": "http://host:80", "port": 81}`, "is 81, the url says 80", "port"},
		{`{"url": "http://host:80", "scheme": "https"}`, `is "https", the url says "http"`, "scheme"},
		{`{"scheme": "http", "port": 80}`, "must be set, or ip", "host"},
		{`{"scheme": "http", "ip": "ten", "port": 80}`, "must be an IP address", "ip"},
		{`{"scheme": "http", "ip": "10.0.0.1"}`, "got 0", "port"},
		{`{"url": "http://host:80", "deploymentId": "none"}`, "there is no deployment 'none'", "deploymentId"},
		{`{"url": "http://host:80", "slug": "a b"}`, "must be letters", "slug"},
	} {
		s.refused(s.call("PUT", "/registry-svc/instance", editor, tc.body), 400, tc.text, tc.field)
	}
}

func TestURLBelongsToOneInstance(t *testing.T) {
	s := newSite(t)
	s.put("instance", `{"id": "a", "url": "http://10.0.0.7:80"}`)
	s.refused(s.call("PUT", "/registry-svc/instance", editor, `{"id": "b", "url": "http://10.0.0.7:80"}`), 409,
		"url 'http://10.0.0.7:80' belongs to instance 'a'", "url")
	// Whoever comes without an id is the one that has the URL.
	if got := s.put("instance", `{"url": "http://10.0.0.7:80", "slug": "s"}`); got["id"] != "a" {
		t.Errorf("instance is %v, want a", got["id"])
	}
	// One that moves lets go of its URL, and so does one that goes.
	s.put("instance", `{"id": "a", "url": "http://10.0.0.7:81"}`)
	s.put("instance", `{"id": "b", "url": "http://10.0.0.7:80"}`)
	if a := s.call("DELETE", "/registry-svc/instance/b", editor, ""); a.status != 200 {
		t.Fatalf("DELETE: %d %v", a.status, a.body)
	}
	s.refused(s.call("DELETE", "/registry-svc/instance/b", editor, ""), 404, "there is no instance 'b'", "")
	s.put("instance", `{"id": "c", "url": "http://10.0.0.7:80"}`)
	if got := s.list("instances"); got != "a c" {
		t.Errorf("instances are %q, want a and c", got)
	}
	fresh := s.put("instance", `{"url": "http://10.0.0.7:82"}`)["id"].(string)
	if fresh == "" || s.get("instance", fresh)["url"] != "http://10.0.0.7:82" {
		t.Errorf("an instance without an id got %q", fresh)
	}
}

func TestInstancesAreFilteredByEachField(t *testing.T) {
	s := newSite(t)
	s.put("definition", hello)
	s.put("deployment", `{"id": "web", "definitionId": "hello"}`)
	s.put("instance", `{"id": "a", "scheme": "http", "host": "h", "ip": "10.0.0.7", "port": 80, "path": "/p", "slug": "s", "deploymentId": "web"}`)
	s.put("instance", `{"id": "b", "scheme": "tcp", "host": "i", "ip": "10.0.0.8", "port": 80}`)
	for _, filter := range []string{"scheme=http", "ip=10.0.0.7", "deploymentId=web", "host=h", "path=/p", "id=a", "slug=s", "slug=s&scheme=http"} {
		if got := s.list("instances?" + filter); got != "a" {
			t.Errorf("%s: instances are %q, want a", filter, got)
		}
	}
	for filter, want := range map[string]string{"": "a b", "slug=t": "", "slug=s&scheme=tcp": ""} {
		if got := s.list("instances?" + filter); got != want {
			t.Errorf("%s: instances are %q, want %q", filter, got, want)
		}
	}
	s.refused(s.call("GET", "/registry-svc/instances?colour=red", viewer, ""), 400, "there is no such filter", "colour")
}

func TestInstancesOfRegistrarsAreNotForCallers(t *testing.T) {
	s := newSite(t)
	s.put("definition", hello)
	s.node("n1", "z1", "eu")
	s.put("deployment", `{"id": "web", "definitionId": "hello", "slug": "front"}`)
	s.place(func(r *registry.DeploymentRecord) {
		r.Placements = []registry.Placement{
			{ID: "web-1", Node: "n1", Run: s.run()}, {ID: "web-2", Node: "n2", Run: s.run()}, {ID: "web-3", Node: "n1", Run: s.run()},
		}
	})
	s.instance("web-1", "n1", registry.InstanceHealthy, "")
	for _, id := range []string{"web-1", "web-2"} {
		s.refused(s.call("DELETE", "/registry-svc/instance/"+id, editor, ""), 409, "instance '"+id+"' is run by a registrar", "")
		s.refused(s.call("PUT", "/registry-svc/instance/"+id, editor, `{"url": "http://h:1"}`), 409, "is run by a registrar", "")
	}
	if got := s.get("instance", "web-1"); got["nodeUrl"] != "http://n1:8889" || got["slug"] != "front" || got["lastHeartbeat"] == nil {
		t.Errorf("instance = %v, want its node's URL and heartbeat, and its deployment's slug", got)
	}
	if got := s.get("instance", "web-2"); got["status"] != "Unreachable" || got["details"] != "node n2 is unreachable" {
		t.Errorf("instance = %v, want one on an unreachable node", got)
	}
	if got := s.get("instance", "web-3"); got["status"] != "Unknown" || got["details"] != "placed on node n1" {
		t.Errorf("instance = %v, want one that is only placed", got)
	}
	// A node's status of a database shares the prefix and is no instance of ours.
	s.store(state.NodeStatusKey("db"), state.NodeStatus{ID: "db", InstanceID: "i", BackendID: "n1", Phase: state.PhaseRunning})
	if got := s.list("instances?slug=front"); got != "web-1 web-2 web-3" {
		t.Errorf("instances are %q", got)
	}
}
