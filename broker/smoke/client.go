package smoke

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// Client asks a broker as a platform does.
type Client struct {
	// URL is the broker's, Login the platform's.
	URL   string
	Login state.Credentials
	HTTP  *http.Client
}

// Plan is a plan of a broker's catalog.
type Plan struct {
	Service string `json:"-"`
	ID      string `json:"id"`
	Name    string `json:"name"`
	// Schemas are those of parameters, of which one bounds the nodes.
	Schemas json.RawMessage `json:"schemas"`
}

// Nodes returns how many nodes the plan's instances can have at most.
func (p Plan) Nodes() int {
	var s struct {
		Instance struct {
			Update struct {
				Parameters struct {
					Properties struct {
						NodeCount struct {
							Maximum int `json:"maximum"`
						} `json:"node_count"`
					} `json:"properties"`
				} `json:"parameters"`
			} `json:"update"`
		} `json:"service_instance"`
	}
	if json.Unmarshal(p.Schemas, &s) != nil {
		return 1
	}
	return max(s.Instance.Update.Parameters.Properties.NodeCount.Maximum, 1)
}

// FindPlan returns the plan of that name.
func (c *Client) FindPlan(ctx context.Context, name string) (Plan, error) {
	var catalog struct {
		Services []struct {
			ID    string `json:"id"`
			Plans []Plan `json:"plans"`
		} `json:"services"`
	}
	if _, err := c.ask(ctx, http.MethodGet, "/v2/catalog", nil, nil, &catalog); err != nil {
		return Plan{}, fmt.Errorf("catalog: %w", err)
	}
	for _, s := range catalog.Services {
		for _, p := range s.Plans {
			if p.Name == name {
				p.Service = s.ID
				return p, nil
			}
		}
	}
	return Plan{}, fmt.Errorf("catalog: no plan %s", name)
}

// Create makes an instance, and returns when it is usable.
func (c *Client) Create(ctx context.Context, id string, p Plan) error {
	body := map[string]any{"service_id": p.Service, "plan_id": p.ID, "organization_guid": "smoke-tests", "space_guid": "smoke-tests"}
	return c.operate(ctx, http.MethodPut, id, url.Values{}, body)
}

// Update changes an instance, and returns when that is done.
func (c *Client) Update(ctx context.Context, id string, p Plan, parameters map[string]any) error {
	return c.operate(ctx, http.MethodPatch, id, url.Values{}, map[string]any{"service_id": p.Service, "parameters": parameters})
}

// Delete removes an instance, and returns when nothing is left of it. One that is
// not there is removed already.
func (c *Client) Delete(ctx context.Context, id string, p Plan) error {
	return c.operate(ctx, http.MethodDelete, id, p.query(), nil)
}

// Bind makes a login.
func (c *Client) Bind(ctx context.Context, id, binding string, p Plan) (Login, error) {
	var answer struct {
		Credentials Login `json:"credentials"`
	}
	_, err := c.ask(ctx, http.MethodPut, instancePath(id)+"/service_bindings/"+binding, nil, map[string]any{"service_id": p.Service, "plan_id": p.ID}, &answer)
	if err == nil && answer.Credentials.URI == "" {
		err = errors.New("the credentials have no uri")
	}
	return answer.Credentials, err
}

// Unbind ends a login. One that is not there has ended already.
func (c *Client) Unbind(ctx context.Context, id, binding string, p Plan) error {
	status, err := c.ask(ctx, http.MethodDelete, instancePath(id)+"/service_bindings/"+binding, p.query(), nil, nil)
	if isGone(status) {
		return nil
	}
	return err
}

func (p Plan) query() url.Values { return url.Values{"service_id": {p.Service}, "plan_id": {p.ID}} }

func instancePath(id string) string { return "/v2/service_instances/" + id }

// operate asks for an operation and waits until it has come to its end.
func (c *Client) operate(ctx context.Context, method, id string, query url.Values, body any) error {
	query.Set("accepts_incomplete", "true")
	status, err := c.ask(ctx, method, instancePath(id), query, body, nil)
	if status != http.StatusAccepted {
		if method == http.MethodDelete && isGone(status) {
			return nil
		}
		return err
	}
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		var last struct{ State, Description string }
		status, err := c.ask(ctx, http.MethodGet, instancePath(id)+"/last_operation", nil, nil, &last)
		switch {
		case method == http.MethodDelete && isGone(status), last.State == "succeeded":
			return nil
		case last.State == "failed":
			return errors.New(last.Description)
		case err != nil && status != http.StatusServiceUnavailable:
			return err
		}
	}
}

// isGone reports whether a broker says that there is no such instance. Which of the
// two it says depends on what it is asked with.
func isGone(status int) bool { return status == http.StatusGone || status == http.StatusNotFound }

// ask sends one request and reads the answer into a value, if there is one for it.
func (c *Client) ask(ctx context.Context, method, path string, query url.Values, body, into any) (int, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path+"?"+query.Encode(), payload)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Broker-API-Version", "2.17")
	req.SetBasicAuth(c.Login.Username, c.Login.Password.Reveal())
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode >= 300 {
		var refusal struct{ Description string }
		_ = json.Unmarshal(b, &refusal) // what is no JSON has no description
		return resp.StatusCode, fmt.Errorf("the broker answers %d: %s", resp.StatusCode, refusal.Description)
	}
	if into == nil {
		return resp.StatusCode, nil
	}
	return resp.StatusCode, json.Unmarshal(b, into)
}
