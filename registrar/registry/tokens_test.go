package registry_test

import (
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/registrar/registry"
)

func TestRolesMayDoWhatTheyMay(t *testing.T) {
	s := newSite(t)
	s.node("n1", "", "")
	const (
		image = `{"id": "x", "image": {"name": "a"}}`
		local = `{"id": "x", "repository": {"url": "/src"}}`
	)
	for _, tc := range []struct {
		method, path, token, body string
		status                    int
		text                      string
	}{
		{"GET", "definitions", "", "", 401, "a bearer token is needed"},
		{"GET", "definitions", "a-token-that-nobody-has", "", 401, "a bearer token is needed"},
		{"GET", "definitions", viewer, "", 200, ""},
		{"PUT", "definition", viewer, image, 403, "this needs the role edit, the token has view"},
		{"PUT", "definition", editor, image, 200, ""},
		{"PUT", "definition", editor, local, 403, "needs the role admin"},
		{"PUT", "definition", admin, local, 200, ""},
		{"DELETE", "definition/x", viewer, "", 403, "this needs the role edit"},
		{"PUT", "node", editor, `{"id": "n1", "cordoned": true}`, 403, "this needs the role admin, the token has edit"},
		{"PUT", "node", admin, `{"id": "n1", "cordoned": true}`, 200, ""},
		{"GET", "nowhere", admin, "", 404, "no such path: /registry-svc/nowhere"},
		{"POST", "definitions", admin, "", 405, "POST is not for"},
	} {
		a := s.call(tc.method, "/registry-svc/"+tc.path, tc.token, tc.body)
		if text, _ := a.problem(); a.status != tc.status || !strings.Contains(text, tc.text) {
			t.Errorf("%s %s with %q: %d %v, want %d %q", tc.method, tc.path, tc.token, a.status, a.body, tc.status, tc.text)
		}
		if got := a.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s %s: content type %q", tc.method, tc.path, got)
		}
		if challenge := a.header.Get("WWW-Authenticate"); (challenge == "Bearer") != (a.status == 401) {
			t.Errorf("%s %s: %d with challenge %q", tc.method, tc.path, a.status, challenge)
		}
	}
}

func TestTokensFileIsReadStrictly(t *testing.T) {
	for text, want := range map[string]string{
		"view short":                          "at least 16 characters",
		"root the-token-of-an-admin":          `no such role: "root"`,
		"view":                                "want a role, a token",
		"view the-token-of-a-viewer a b":      "want a role, a token",
		"view " + viewer + "\nedit " + viewer: "line 2: the token is there twice",
	} {
		_, err := registry.ParseTokens(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseTokens(%q) = %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), viewer) {
			t.Errorf("the error shows the token: %v", err)
		}
	}
}
