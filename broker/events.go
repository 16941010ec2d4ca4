package broker

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/state"
)

// eventsPause is the least time between two looks at the event log for a
// follower: what comes meanwhile comes together.
const eventsPause = 20 * time.Millisecond

// Events returns the events that the filter lets through, in the order in which
// they were written.
func (o operator) Events(_ context.Context, f admin.EventFilter) ([]admin.Event, error) {
	list := []admin.Event{}
	o.engine.View(func() { list = append(list, o.tables.eventList(f)...) })
	return list, nil
}

// FollowEvents goes on with those that come.
func (o operator) FollowEvents(ctx context.Context, f admin.EventFilter) iter.Seq2[admin.Event, error] {
	return func(yield func(admin.Event, error) bool) {
		for _, shown := range following(ctx, o.engine, eventsPause, func() []admin.Event { return o.tables.eventList(f) }) {
			for _, e := range shown {
				if !yield(e, nil) {
					return
				}
				f.After = e.Revision
			}
			f.Last = 0
		}
	}
}

func (t *tables) eventList(f admin.EventFilter) []admin.Event {
	var list []state.Entry[state.Event]
	for e := range t.events.All() {
		if e.CreateRevision > f.After && (f.Instance == "" || f.Instance == e.Value.Instance) && (f.Kind == "" || f.Kind == e.Value.Kind) {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, oldestFirst)
	if f.Last > 0 {
		list = list[max(0, len(list)-f.Last):]
	}
	var shown []admin.Event
	for _, e := range list {
		shown = append(shown, admin.Event{Event: e.Value, Revision: e.CreateRevision})
	}
	return shown
}

// following yields what look finds in the picture, now and, at most once in a
// pause, whenever the picture has changed; with the revision at which it was so.
// Looks that take long are rare, so that they do not hold up the picture for
// everybody else. It ends with ctx or the engine.
func following[T any](ctx context.Context, engine *state.Engine, pause time.Duration, look func() T) iter.Seq2[int64, T] {
	return func(yield func(int64, T) bool) {
		for seen := int64(-1); ; {
			var found T
			var took time.Duration
			revision, err := engine.ViewNews(ctx, seen, func() {
				began := time.Now()
				found = look()
				took = time.Since(began)
			})
			if err != nil || !yield(revision, found) {
				return
			}
			seen = revision
			select {
			case <-ctx.Done():
				return
			case <-time.After(max(pause, 20*took)):
			}
		}
	}
}
