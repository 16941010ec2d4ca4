package admin

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"time"
)

// Top is how a site is at one revision of etcd.
type Top struct {
	Revision int64 `json:"revision"`
	// Instances counts all clusters, Leaderless those that nobody leads. Clusters
	// are as many as were asked for, those in trouble first.
	Instances  int       `json:"instances"`
	Leaderless int       `json:"leaderless"`
	Clusters   []Cluster `json:"clusters"`
	Routers    []Router  `json:"routers"`
	Backends   []Backend `json:"backends"`
}

// Cluster is one line of Top.
type Cluster struct {
	ID   string `json:"instance_id"`
	Plan string `json:"plan"`
	Port int    `json:"port"`
	// Leader is who leads, and LeaderBackend where; empty while nobody does.
	Leader        string `json:"leader"`
	LeaderBackend string `json:"leader_backend_id"`
	// Replicas counts the nodes that should follow, Streaming those that do.
	Replicas  int `json:"replicas"`
	Streaming int `json:"streaming"`
	// Lag is the largest of the replicas', in bytes of WAL; nil if none is known.
	Lag *int64 `json:"lag_bytes,omitempty"`
	// Disabled are the nodes that are switched off.
	Disabled []Replica `json:"disabled,omitempty"`
	// Failover is when another node took over last; zero: not since the event log
	// began.
	Failover time.Time `json:"failover,omitzero"`
	// Operation tells what is being done, if anything is.
	Operation string `json:"operation,omitempty"`
}

// Trouble reports whether somebody should look at the cluster.
func (c Cluster) Trouble() bool {
	return c.Leader == "" || c.Streaming < c.Replicas || len(c.Disabled) > 0
}

func (h handler) top(w http.ResponseWriter, r *http.Request) {
	limit, err := number[int](r, "limit")
	respond(h, w, r, err,
		func(ctx context.Context) (Top, error) { return h.site.Top(ctx, limit) },
		func(ctx context.Context) iter.Seq2[Top, error] { return h.site.FollowTop(ctx, limit) })
}

// Top returns how the site is.
func (c *Client) Top(ctx context.Context, limit int) (Top, error) {
	return ask[Top](ctx, c, http.MethodGet, fmt.Sprintf("/top?limit=%d", limit), nil)
}

// FollowTop returns how the site is whenever that changes, until ctx ends or the
// connection does.
func (c *Client) FollowTop(ctx context.Context, limit int) iter.Seq2[Top, error] {
	return follow[Top](ctx, c, fmt.Sprintf("/top?limit=%d&follow=true", limit))
}
