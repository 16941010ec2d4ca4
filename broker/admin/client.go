package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// Client asks a broker's operator API. It is a Site that is somewhere else.
type Client struct {
	base  string
	login state.Credentials
	// http is for answers that end, endless for those that are followed.
	http, endless *http.Client
}

// NewClient returns a client of the broker at base, such as
// http://127.0.0.1:8888.
func NewClient(base string, login state.Credentials) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("broker's address %q: want a URL like http://127.0.0.1:8888", base)
	}
	return &Client{
		base: strings.TrimSuffix(base, "/") + "/admin", login: login,
		http: &http.Client{Timeout: time.Minute}, endless: &http.Client{},
	}, nil
}

var _ Site = (*Client)(nil)

// Instances lists instances.
func (c *Client) Instances(ctx context.Context, f Filter) ([]Instance, error) {
	return ask[[]Instance](ctx, c, http.MethodGet, "/instances"+f.query(), nil)
}

// Instance returns one instance.
func (c *Client) Instance(ctx context.Context, id string) (Instance, error) {
	return ask[Instance](ctx, c, http.MethodGet, instancePath(id), nil)
}

// Change updates an instance, or with dryRun tells how it would.
func (c *Client) Change(ctx context.Context, id string, change Change, dryRun bool) (Operation, error) {
	return ask[Operation](ctx, c, http.MethodPatch, fmt.Sprintf("%s?dry_run=%t", instancePath(id), dryRun), change)
}

// Recreate makes an instance anew, without its data.
func (c *Client) Recreate(ctx context.Context, id string) (Operation, error) {
	return ask[Operation](ctx, c, http.MethodPost, instancePath(id)+"/recreate?lose_data=true", nil)
}

// Rotate replaces the passwords that a cluster has of its own.
func (c *Client) Rotate(ctx context.Context, id string) (Operation, error) {
	return ask[Operation](ctx, c, http.MethodPost, instancePath(id)+"/rotate", nil)
}

// Move takes an instance to another site.
func (c *Client) Move(ctx context.Context, id, site string) (Operation, error) {
	return ask[Operation](ctx, c, http.MethodPost, instancePath(id)+"/move?site="+url.QueryEscape(site), nil)
}

// StopForwarding ends that the port of an instance that has moved leads to it.
func (c *Client) StopForwarding(ctx context.Context, id string) (Operation, error) {
	return ask[Operation](ctx, c, http.MethodDelete, instancePath(id)+"/forward", nil)
}

// Operations lists operations.
func (c *Client) Operations(ctx context.Context, f Filter) ([]Operation, error) {
	return ask[[]Operation](ctx, c, http.MethodGet, "/operations"+f.query(), nil)
}

// Resume has a failed operation tried again.
func (c *Client) Resume(ctx context.Context, id string) (Operation, error) {
	return ask[Operation](ctx, c, http.MethodPost, instancePath(id)+"/operation/resume", nil)
}

// Abandon ends an operation where it is.
func (c *Client) Abandon(ctx context.Context, id string) (Operation, error) {
	return ask[Operation](ctx, c, http.MethodPost, instancePath(id)+"/operation/abandon", nil)
}

// Backends lists backends.
func (c *Client) Backends(ctx context.Context) ([]Backend, error) {
	return ask[[]Backend](ctx, c, http.MethodGet, "/backends", nil)
}

// Backend returns one backend.
func (c *Client) Backend(ctx context.Context, id string) (Backend, error) {
	return ask[Backend](ctx, c, http.MethodGet, backendPath(id), nil)
}

// Cordon keeps new nodes and reads away from a backend, or lets them come again.
func (c *Client) Cordon(ctx context.Context, id string, cordoned bool, act Act) (Backend, error) {
	method := http.MethodDelete
	if cordoned {
		method = http.MethodPut
	}
	return ask[Backend](ctx, c, method, backendPath(id)+"/cordon"+act.query(), nil)
}

// Drain moves a backend's nodes away.
func (c *Client) Drain(ctx context.Context, id string, act Act) (Backend, error) {
	return ask[Backend](ctx, c, http.MethodPost, backendPath(id)+"/drain"+act.query(), nil)
}

func instancePath(id string) string { return "/instances/" + url.PathEscape(id) }

func backendPath(id string) string { return "/backends/" + url.PathEscape(id) }

func (f Filter) query() string {
	q := url.Values{}
	for name, value := range map[string]string{"plan": f.Plan, "backend": f.Backend, "state": f.State} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return question(q)
}

// ask sends a request and decodes the answer.
func ask[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	resp, err := c.send(ctx, c.http, method, path, body)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("reading the broker's answer: %w", err)
	}
	return out, nil
}

// send sends a request and returns the answer, whose body the caller closes. An
// answer that says no is an Error.
func (c *Client) send(ctx context.Context, through *http.Client, method, path string, body any) (*http.Response, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(c.login.Username, c.login.Password.Reveal())
	resp, err := through.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the broker: %w", err)
	}
	if resp.StatusCode > 299 {
		defer resp.Body.Close()
		return nil, refusal(resp)
	}
	return resp, nil
}

// refusal reads an answer that says no: this API's, or the platform API's where
// the login is checked.
func refusal(resp *http.Response) error {
	var told struct{ Error, Description string }
	// What is no JSON is told by its status alone.
	_ = json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&told)
	return Errorf(resp.StatusCode, "%s", cmp.Or(told.Error, told.Description, resp.Status))
}
