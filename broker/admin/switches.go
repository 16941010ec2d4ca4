package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Switch is where a switch is. What is not known stays empty: a switch that was
// written by hand has neither By nor Reason.
type Switch struct {
	Disabled bool      `json:"disabled"`
	Since    time.Time `json:"since,omitzero"`
	By       string    `json:"by,omitempty"`
	Reason   string    `json:"reason,omitempty"`
}

// Status tells where the switch is, in a word.
func (s Switch) Status() string {
	if s.Disabled {
		return "disabled"
	}
	return "enabled"
}

// Router is a router that runs, or the switch that somebody wrote for one.
type Router struct {
	ID string `json:"router_id"`
	// Running says that a router holds the key.
	Running bool `json:"running"`
	Switch
}

// Status tells where the switch is, and whether it is of anything, in words.
func (r Router) Status() string {
	if !r.Running {
		return r.Switch.Status() + " (not running)"
	}
	return r.Switch.Status()
}

// The roles of a Replica.
const (
	Follower = "replica"
	Leader   = "leader"
	// NoNode is what a switch is for whose node there is not.
	NoNode = "none"
)

// Replica is a node of a cluster as far as reads are concerned.
type Replica struct {
	// ID is INSTANCE.NODE.
	ID       string `json:"replica_id"`
	Instance string `json:"instance_id"`
	Node     string `json:"node_id"`
	Backend  string `json:"backend_id,omitempty"`
	// Role is Follower, Leader or NoNode.
	Role string `json:"role"`
	// State is Patroni's word.
	State     string `json:"state,omitempty"`
	Streaming bool   `json:"streaming"`
	// Lag is how many bytes of WAL the replica is behind, as members tell every
	// few seconds; nil if they do not.
	Lag *int64 `json:"lag_bytes,omitempty"`
	Switch
	// BackendDisabled says that the node's whole backend is switched off.
	BackendDisabled bool `json:"backend_disabled,omitempty"`
}

// Status tells where the switch is and what comes of it, in words.
func (r Replica) Status() string {
	switch {
	case r.Disabled && r.Role == Leader:
		return "disabled (now leader)"
	case r.Disabled && r.Role == NoNode:
		return "disabled (no such node)"
	case !r.Disabled && r.BackendDisabled:
		return "disabled (by its backend)"
	}
	return r.Switch.Status()
}

// throwing is acting on a switch.
func throwing[T any](do func(ctx context.Context, id string, off bool, act Act) (T, error), off bool) answer {
	return acting(func(ctx context.Context, id string, act Act) (T, error) { return do(ctx, id, off, act) })
}

func (h handler) routers(ctx context.Context, _ *http.Request) (any, error) {
	return h.site.Routers(ctx)
}

func (h handler) replicas(ctx context.Context, r *http.Request) (any, error) {
	return h.site.Replicas(ctx, r.URL.Query().Get("instance"))
}

// Routers lists routers.
func (c *Client) Routers(ctx context.Context) ([]Router, error) {
	return ask[[]Router](ctx, c, http.MethodGet, "/routers", nil)
}

// SwitchRouter disables or enables a router.
func (c *Client) SwitchRouter(ctx context.Context, id string, off bool, act Act) (Router, error) {
	return ask[Router](ctx, c, http.MethodPost, "/routers/"+url.PathEscape(id)+verb(off)+act.query(), nil)
}

// Replicas lists replicas.
func (c *Client) Replicas(ctx context.Context, instance string) ([]Replica, error) {
	q := url.Values{}
	if instance != "" {
		q.Set("instance", instance)
	}
	return ask[[]Replica](ctx, c, http.MethodGet, "/replicas"+question(q), nil)
}

// SwitchReplica disables or enables a replica.
func (c *Client) SwitchReplica(ctx context.Context, id string, off bool, act Act) (Replica, error) {
	return ask[Replica](ctx, c, http.MethodPost, "/replicas/"+url.PathEscape(id)+verb(off)+act.query(), nil)
}

func verb(off bool) string {
	if off {
		return "/disable"
	}
	return "/enable"
}

// question returns a query with its question mark, if it says anything.
func question(q url.Values) string {
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}
