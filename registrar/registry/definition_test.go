package registry_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDefinitionIsReadInEachForm(t *testing.T) {
	s := newSite(t)
	for name, tc := range map[string]struct {
		body string
		want map[string]any
	}{
		"today's image": {
			`{"id": "a", "image": {"name": "hello:1", "internalPorts": [8080, 9090]}, "ports": [{"internal": 8080, "host": 0}]}`,
			map[string]any{
				"id": "a", "image": map[string]any{"name": "hello:1", "internalPorts": []any{8080.0, 9090.0}},
				"ports": []any{map[string]any{"internal": 8080.0, "host": 0.0}},
			},
		},
		"the older image": {
			`{"id": "test-a", "image": {"name": "hashicorp/http-echo", "port": 8080}, "hostPort": 8887}`,
			map[string]any{
				"id": "test-a", "image": map[string]any{"name": "hashicorp/http-echo", "internalPorts": []any{8080.0}},
				"ports": []any{map[string]any{"internal": 8080.0, "host": 8887.0}},
			},
		},
		"the older repository": {
			`{"id": "test-b", "repository": {"url": "https://github.com/openorch/openorch.git", "containerFile": "server/docker/Dockerfile"}, "hostPort": 9998}`,
			map[string]any{
				"id": "test-b", "repository": map[string]any{"url": "https://github.com/openorch/openorch.git", "containerFile": "server/docker/Dockerfile"},
				"ports": []any{map[string]any{"internal": 9998.0, "host": 9998.0}},
			},
		},
		"an envelope, ports as numbers, an environment as an object": {
			`{"definition": {"id": "c", "repository": {"url": "/src", "ports": [80]}, "envars": {"B": "2", "A": "1"}}}`,
			map[string]any{
				"id": "c", "repository": map[string]any{"url": "/src", "ports": []any{map[string]any{"internal": 80.0, "host": 0.0}}},
				"envars": []any{map[string]any{"key": "A", "value": "1"}, map[string]any{"key": "B", "value": "2"}},
			},
		},
	} {
		got := s.put("definition", tc.body)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(tc.want, s.get("definition", tc.want["id"].(string))); diff != "" {
			t.Errorf("%s, read again (-want +got):\n%s", name, diff)
		}
	}
	if got := s.list("definitions"); got != "a c test-a test-b" {
		t.Errorf("definitions are %q", got)
	}
}

func TestDefinitionIsRefusedByField(t *testing.T) {
	s := newSite(t)
	for _, tc := range []struct{ body, text, field string }{
		{`{"id": "x", "image": {"name": "a"}, "repository": {"url": "/src"}}`, "definition 'x' has both image and repository", "image"},
		{`{"id": "x"}`, "definition 'x' has neither image nor repository", "image"},
		{`{"image": {"name": "a"}}`, "id: must be set", "id"},
		{`{"id": "a b", "image": {"name": "a"}}`, "must be letters", "id"},
		{`{"id": "x", "image": {"name": ""}}`, "must be the name of an image", "image.name"},
		{`{"id": "x", "image": {"name": "a", "internalPorts": [80, 70000]}}`, "got 70000", "image.internalPorts[1]"},
		{`{"id": "x", "image": {"name": "a", "internalPorts": "80"}}`, "must not be of type string", "image.internalPorts"},
		{`{"id": "x", "image": {"name": "a"}, "ports": [{"internal": 80, "host": -1}]}`, "got -1", "ports[0].host"},
		{`{"id": "x", "image": {"name": "a"}, "ports": [{"internal": 80}, {"internal": 80}]}`, "twice", "ports[1].internal"},
		{`{"id": "x", "image": {"name": "a"}, "envars": [{"key": "1", "value": ""}]}`, "variable's name", "envars[0].key"},
		{`{"id": "x", "image": {"name": "a"}, "scheme": "ftp"}`, "got \"ftp\"", "scheme"},
		{`{"id": "x", "image": {"name": "a"}, "path": "nowhere"}`, "begin with a slash", "path"},
		{`{"id": "x", "image": {"name": "a"}, "colour": "red"}`, "no such field", "colour"},
		{`{"id": "x", "repository": {"url": ""}}`, "must be set", "repository.url"},
		{`{"id": "x", "repository": {"url": "ext::sh -c id"}}`, "must be a git URL", "repository.url"},
		{`{"id": "x", "repository": {"url": "--upload-pack=id"}}`, "must be a git URL", "repository.url"},
		{`{"id": "x", "repository": {"url": "https://me:secret@host/x.git"}}`, "must not hold a login", "repository.url"},
		{`{"id": "x", "repository": {"url": "https://token@host/x.git"}}`, "must not hold a login", "repository.url"},
		{`{"id": "x", "repository": {"url": "ssh://git:secret@host/x.git"}}`, "must not hold a login", "repository.url"},
		{`{"id": "x", "repository": {"url": "/src", "version": "--force"}}`, "a tag, a branch or a commit", "repository.version"},
		{`{"id": "x", "repository": {"url": "/src", "buildContext": "../other"}}`, "must be a folder of the repository", "repository.buildContext"},
		{`{"id": "x", "repository": {"url": "/src", "containerFile": "/etc/passwd"}}`, "must be a file", "repository.containerFile"},
		{`[1]`, "must not be of type array", "body"},
		{`{`, "is not one JSON object", "body"},
		{`{"id": "x", "image": {"name": "a"}} {}`, "must be one JSON object", "body"},
	} {
		s.refused(s.call("PUT", "/registry-svc/definition", admin, tc.body), 400, tc.text, tc.field)
	}
	s.refused(s.call("PUT", "/registry-svc/definition/y", admin, `{"id": "x", "image": {"name": "a"}}`), 400, `is "x", the path says "y"`, "id")
	if got := s.list("definitions"); got != "" {
		t.Errorf("definitions are %q, want none", got)
	}
}

func TestDefinitionInUseIsNotDeleted(t *testing.T) {
	s := newSite(t)
	s.put("definition", `{"id": "x", "image": {"name": "a", "internalPorts": [80]}}`)
	s.put("definition", `{"id": "z", "image": {"name": "a", "internalPorts": [80]}}`)
	s.put("deployment", `{"id": "y", "definitionId": "x"}`)
	s.refused(s.call("DELETE", "/registry-svc/definition/x", editor, ""), 409, "definition 'x' is used by deployment 'y'", "")
	// It can be changed, and that loses nobody who uses it.
	s.put("definition", `{"id": "x", "image": {"name": "b", "internalPorts": [80]}}`)
	s.refused(s.call("DELETE", "/registry-svc/definition/x", editor, ""), 409, "definition 'x' is used by deployment 'y'", "")
	s.put("deployment", `{"id": "y", "definitionId": "z"}`)
	if a := s.call("DELETE", "/registry-svc/definition/x", admin, ""); a.status != 200 {
		t.Errorf("deleting a definition that is not used any more: %d %v", a.status, a.body)
	}
	s.refused(s.call("GET", "/registry-svc/definition/x", viewer, ""), 404, "there is no definition 'x'", "")
	s.refused(s.call("DELETE", "/registry-svc/definition/x", editor, ""), 404, "there is no definition 'x'", "")
	if a := s.call("DELETE", "/registry-svc/deployment/y", editor, ""); a.status != 202 {
		t.Errorf("deleting the deployment: %d %v", a.status, a.body)
	}
	if a := s.call("DELETE", "/registry-svc/definition/z", admin, ""); a.status != 200 {
		t.Errorf("deleting the definition of a deleted deployment: %d %v", a.status, a.body)
	}
}
