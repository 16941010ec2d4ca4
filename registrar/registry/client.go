package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// Client asks a registry.
type Client struct {
	// URL is where the registry is, such as http://10.0.0.7:8889.
	URL string
	// Token is the caller's.
	Token state.Secret
	// HTTP is what asks. Default: a client that waits for 30 s.
	HTTP *http.Client
}

// Do sends a request to a path of the API, with body as JSON if it is not nil,
// and decodes the answer into into if that is not nil. A refusal is a Problem.
func (c Client) Do(ctx context.Context, method, path string, body, into any) error {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, sent)
	if err != nil {
		return fmt.Errorf("registry at %s: %w", c.URL, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Token.Reveal())
	client := c.HTTP
	if client == nil {
		client = &http.Client{Timeout: 30 * time.Second}
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("registry at %s does not answer: %w", c.URL, err)
	}
	defer resp.Body.Close()
	return readAnswer(resp, into)
}

func readAnswer(resp *http.Response, into any) error {
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reading the registry's answer: %w", err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		p := Problem{Status: resp.StatusCode}
		if json.Unmarshal(text, &p) != nil || p.Text == "" {
			p.Text = fmt.Sprintf("the registry answers %s", resp.Status)
		}
		return p
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading the registry's answer: %w", err)
	}
	return nil
}

// Path returns the path of an entity of the API, or of all of a kind if id is
// empty. Filters select instances.
func Path(kind, id string, filters url.Values) string {
	if id != "" {
		return registryPath + "/" + kind + "/" + url.PathEscape(id)
	}
	path := registryPath + "/" + kind + "s"
	if len(filters) > 0 {
		path += "?" + filters.Encode()
	}
	return path
}

// IsProblem reports whether err is a refusal with that status.
func IsProblem(err error, status int) bool {
	p, ok := errors.AsType[Problem](err)
	return ok && p.Status == status
}
