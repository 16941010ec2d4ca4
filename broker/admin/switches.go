package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// Act is what an operator says of what he does.
type Act struct {
	// By is who does it: the login and, in brackets, the name that its user gave
	// himself. A client only gives the name.
	By string
	// Reason is why, in his own words.
	Reason string
	// Force passes by the refusal that protects the last one of its kind.
	Force bool
}

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

// Router is a running router.
type Router struct {
	ID string `json:"router_id"`
	Switch
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

// maxWords bounds a reason and a name.
const maxWords = 500

// readAct reads what the operator says of what he does; the login is known.
func readAct(r *http.Request) (Act, error) {
	username, _, _ := r.BasicAuth()
	q := r.URL.Query()
	act := Act{By: username, Reason: q.Get("reason")}
	if name := q.Get("by"); name != "" {
		act.By += " (" + name + ")"
	}
	for _, p := range []string{"by", "reason"} {
		if err := checkWords(p, q.Get(p)); err != nil {
			return act, err
		}
	}
	var err error
	act.Force, err = flag(r, "force")
	return act, err
}

// checkWords refuses what would not be read as it was meant in a table or a log.
func checkWords(name, words string) error {
	if len(words) > maxWords {
		return Errorf(http.StatusBadRequest, "%s: must not be longer than %d bytes, has %d", name, maxWords, len(words))
	}
	for _, r := range words {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return Errorf(http.StatusBadRequest, "%s: must be one line of UTF-8", name)
		}
	}
	return nil
}

// flag reads a parameter that is true or false; false without it.
func flag(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, Errorf(http.StatusBadRequest, "%s: must be true or false, got %q", name, text)
	}
	return value, nil
}

func (a Act) query() string {
	q := url.Values{}
	for name, value := range map[string]string{"by": a.By, "reason": a.Reason} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if a.Force {
		q.Set("force", "true")
	}
	return question(q)
}

// acting answers with what became of that which has an id.
func acting[T any](do func(ctx context.Context, id string, act Act) (T, error)) answer {
	return func(ctx context.Context, r *http.Request) (any, error) {
		act, err := readAct(r)
		if err != nil {
			return nil, err
		}
		return do(ctx, id(r), act)
	}
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
