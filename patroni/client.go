package patroni

import (
	"bytes"
	"cmp"
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

// The deadlines of calls, where the caller's context has no nearer one.
// Patroni answers a switchover or a restart when it is over.
const (
	queryTimeout  = 5 * time.Second
	actionTimeout = 90 * time.Second
)

// maxBody bounds what is read of an answer.
const maxBody = 1 << 20

// StatusError is an answer of Patroni that says no.
type StatusError struct {
	// Method and Path are the request's.
	Method, Path string
	Code         int
	// Body is the beginning of what Patroni said.
	Body string
}

// Error tells what was asked and what Patroni said.
func (e *StatusError) Error() string {
	return fmt.Sprintf("patroni answered %s %s with %d: %s", e.Method, e.Path, e.Code, cmp.Or(e.Body, http.StatusText(e.Code)))
}

// Status is what GET /patroni tells of a member.
type Status struct {
	// Role and State are as in Member.
	Role          string `json:"role"`
	State         string `json:"state"`
	ServerVersion int    `json:"server_version"`
	Timeline      int64  `json:"timeline"`
	XLog          XLog   `json:"xlog"`
	// ReplicationState is "streaming" on a replica that follows its leader.
	ReplicationState string `json:"replication_state"`
	// SyncStandby says that the member may take over without a loss.
	SyncStandby bool `json:"sync_standby"`
	// Replication lists who follows this member.
	Replication []Replication `json:"replication"`
	// ClusterUnlocked says that nobody holds the leader key.
	ClusterUnlocked bool `json:"cluster_unlocked"`
	// FailsafeActive says that the leader goes on without etcd.
	FailsafeActive bool `json:"failsafe_mode_is_active"`
	PendingRestart bool `json:"pending_restart"`
	Pause          bool `json:"pause"`
	// DCSLastSeen is when Patroni last reached etcd, in seconds since 1970.
	DCSLastSeen int64 `json:"dcs_last_seen"`
	// SystemID is PostgreSQL's own id of the cluster.
	SystemID string `json:"database_system_identifier"`
	// Patroni names the member and its cluster.
	Patroni struct {
		Version string `json:"version"`
		Scope   string `json:"scope"`
		Name    string `json:"name"`
	} `json:"patroni"`
}

// IsPrimary reports whether PostgreSQL takes writes. It does not say that the
// member holds the leader key: see Client.IsPrimary.
func (s Status) IsPrimary() bool { return Member{Role: s.Role}.IsPrimary() }

// IsRunning reports whether PostgreSQL answers.
func (s Status) IsRunning() bool { return s.State == stateRunning }

// XLog is where a member is in the WAL: a primary has Location, a replica the
// others.
type XLog struct {
	Location         int64 `json:"location"`
	ReceivedLocation int64 `json:"received_location"`
	ReplayedLocation int64 `json:"replayed_location"`
	Paused           bool  `json:"paused"`
}

// Replication is one connection by which somebody follows a member.
type Replication struct {
	// ApplicationName is the follower's member name, if it is a member.
	ApplicationName string `json:"application_name"`
	State           string `json:"state"`
	SyncState       string `json:"sync_state"`
}

// Client talks to the REST API of one member. Its methods end with their
// context, or after a limit of their own. It has no state and may be shared.
type Client struct {
	base  string
	login state.Credentials
	http  *http.Client
}

// NewClient returns a client of the member whose Member.APIURL is apiURL. login
// is sent with what changes something and with nothing else. httpClient may be
// nil: then connections go straight to the member, never through a proxy, and
// are not kept.
func NewClient(apiURL string, login state.Credentials, httpClient *http.Client) (*Client, error) {
	u, err := url.Parse(apiURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("member has no usable api_url: %q", apiURL)
	}
	if httpClient == nil {
		httpClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	}
	return &Client{base: u.Scheme + "://" + u.Host, login: login, http: httpClient}, nil
}

// String returns the base URL of the member's API, and no login.
func (c *Client) String() string { return c.base }

// Status returns what the member tells of itself.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.do(ctx, http.MethodGet, "/patroni", nil, &s)
	return s, err
}

// IsPrimary reports whether the member takes writes and holds the leader key,
// as far as it knows.
func (c *Client) IsPrimary(ctx context.Context) (bool, error) {
	var s Status
	err := c.do(ctx, http.MethodGet, "/primary", nil, &s)
	if refused, ok := errors.AsType[*StatusError](err); ok && refused.Code == http.StatusServiceUnavailable {
		return false, nil
	}
	return err == nil && s.IsPrimary(), err
}

// Alive asks whether Patroni answers at all, whatever it has to say.
func (c *Client) Alive(ctx context.Context) error {
	err := c.do(ctx, http.MethodGet, "/liveness", nil, nil)
	if _, answered := errors.AsType[*StatusError](err); answered {
		return nil
	}
	return err
}

// Switchover moves leadership from leader to candidate, or to the best replica
// if candidate is empty. It returns when Patroni says how it went. A
// StatusError of code 412 says that it can not be done now.
func (c *Client) Switchover(ctx context.Context, leader, candidate string) error {
	request := map[string]string{"leader": leader}
	if candidate != "" {
		request["candidate"] = candidate
	}
	return c.do(ctx, http.MethodPost, "/switchover", request, nil)
}

// Reinitialize throws the data of this replica away and copies the leader's.
// It returns when Patroni has begun. force ends what the replica is doing.
func (c *Client) Reinitialize(ctx context.Context, force bool) error {
	return c.do(ctx, http.MethodPost, "/reinitialize", map[string]bool{"force": force}, nil)
}

// Restart restarts PostgreSQL, not Patroni, and returns when it is up again.
func (c *Client) Restart(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/restart", struct{}{}, nil)
}

// RestartIfPending restarts PostgreSQL if settings wait for that. If none do, or
// Patroni has not taken them in yet, it is a StatusError of code 503.
func (c *Client) RestartIfPending(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/restart", map[string]bool{"restart_pending": true}, nil)
}

// Config returns the dynamic configuration, the keys as Patroni spells them.
func (c *Client) Config(ctx context.Context) (map[string]any, error) {
	var cfg map[string]any
	err := c.do(ctx, http.MethodGet, "/config", nil, &cfg)
	return cfg, err
}

// PatchConfig changes the keys of the dynamic configuration that patch holds,
// and removes those that it holds as nil. It returns what holds then. Members
// take it in within one loop_wait; the asked one looks at once.
func (c *Client) PatchConfig(ctx context.Context, patch map[string]any) (map[string]any, error) {
	var cfg map[string]any
	err := c.do(ctx, http.MethodPatch, "/config", patch, &cfg)
	return cfg, err
}

// Wake has the member look at its cluster now and not only after the rest of
// its loop_wait. It changes nothing: Patroni looks after every PATCH of its
// configuration, and this one removes a key that is not there.
func (c *Client) Wake(ctx context.Context) error {
	_, err := c.PatchConfig(ctx, map[string]any{"pgpatron_wake": nil})
	return err
}

// do sends a request with body as JSON, if it has one, and decodes the answer
// into out, if that is wanted.
func (c *Client) do(ctx context.Context, method, path string, body, out any) error {
	timeout := queryTimeout
	if method == http.MethodPost {
		timeout = actionTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("asking patroni: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("reading patroni's answer to %s %s: %w", method, path, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return &StatusError{Method: method, Path: path, Code: resp.StatusCode, Body: c.excerpt(answer)}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("decoding patroni's answer to %s %s: %w", method, path, err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	if body == nil {
		return http.NewRequestWithContext(ctx, method, c.base+path, nil)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding a request to patroni: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(c.login.Username, c.login.Password.Reveal())
	return req, nil
}

// excerpt returns the first line or so of an answer, and never the password,
// should a proxy echo it. A page of HTML says no more than its code.
func (c *Client) excerpt(answer []byte) string {
	const limit = 200
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(answer), "?")), " ")
	if strings.HasPrefix(text, "<!DOCTYPE") {
		return ""
	}
	if password := c.login.Password.Reveal(); password != "" {
		text = strings.ReplaceAll(text, password, c.login.Password.String())
	}
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}
