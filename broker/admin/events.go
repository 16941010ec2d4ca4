package admin

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/pgpatron/pgpatron/state"
)

// Event is an entry of the event log.
type Event struct {
	state.Event
	// Revision is etcd's at which the event was written. Several may share one.
	Revision int64 `json:"revision"`
}

// EventFilter chooses events. What is zero lets everything through.
type EventFilter struct {
	// Instance is the instance that they are about.
	Instance string
	Kind     state.EventKind
	// After leaves out what was written at that revision or before it.
	After int64
	// Last is how many of the newest there may be.
	Last int
}

func readEventFilter(r *http.Request) (EventFilter, error) {
	q := r.URL.Query()
	f := EventFilter{Instance: q.Get("instance"), Kind: state.EventKind(q.Get("kind"))}
	switch f.Kind {
	case "", state.EventFailover, state.EventFence, state.EventSwitch, state.EventOperation:
	default:
		return f, Errorf(http.StatusBadRequest, "kind: must be failover, fence, switch or operation, got %q", f.Kind)
	}
	var err error
	if f.Last, err = number[int](r, "last"); err != nil {
		return f, err
	}
	f.After, err = number[int64](r, "after")
	return f, err
}

// number reads a parameter that is not negative; 0 without it.
func number[T int | int64](r *http.Request, name string) (T, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || int64(T(n)) != n {
		return 0, Errorf(http.StatusBadRequest, "%s: must be a number that is not negative, got %q", name, text)
	}
	return T(n), nil
}

func (f EventFilter) query(follow bool) string {
	q := url.Values{}
	if f.Instance != "" {
		q.Set("instance", f.Instance)
	}
	if f.Kind != "" {
		q.Set("kind", string(f.Kind))
	}
	if f.After != 0 {
		q.Set("after", fmt.Sprint(f.After))
	}
	if f.Last != 0 {
		q.Set("last", fmt.Sprint(f.Last))
	}
	if follow {
		q.Set("follow", "true")
	}
	return question(q)
}

func (h handler) events(w http.ResponseWriter, r *http.Request) {
	f, err := readEventFilter(r)
	respond(h, w, r, err,
		func(ctx context.Context) ([]Event, error) { return h.site.Events(ctx, f) },
		func(ctx context.Context) iter.Seq2[Event, error] { return h.site.FollowEvents(ctx, f) })
}

// Events lists events.
func (c *Client) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	return ask[[]Event](ctx, c, http.MethodGet, "/events"+f.query(false), nil)
}

// FollowEvents lists events and those that come, until ctx ends or the
// connection does.
func (c *Client) FollowEvents(ctx context.Context, f EventFilter) iter.Seq2[Event, error] {
	return follow[Event](ctx, c, "/events"+f.query(true))
}
