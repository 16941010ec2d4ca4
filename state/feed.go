package state

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// feed carries what the watch sees to the engine's loop. Events that wait long
// are folded by key, so that a slow Tick costs memory for what changed, not for
// how often.
type feed struct {
	news    chan struct{}
	reloads chan string
	waiting prometheus.Gauge

	// mu guards pending and late.
	mu      sync.Mutex
	pending news
	// late is whether tellLate will be called.
	late bool
}

// news is what came since the loop last looked: perhaps a full load, then
// events.
type news struct {
	full bool
	// reset says that the load is of another etcd than what came before.
	reset    bool
	kvs      []*mvccpb.KeyValue
	loaded   int64
	events   []*clientv3.Event
	revision int64
	// folded is how many events the last fold left.
	folded int
}

func newFeed(waiting prometheus.Gauge) *feed {
	return &feed{news: make(chan struct{}, 1), reloads: make(chan string, 1), waiting: waiting}
}

// take empties the feed.
func (f *feed) take() news {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.pending
	f.pending = news{}
	f.waiting.Set(0)
	return n
}

// reload asks for a full load.
func (f *feed) reload(reason string) {
	select {
	case f.reloads <- reason:
	default:
	}
}

func (f *feed) putLoad(kvs []*mvccpb.KeyValue, revision int64, reset bool) {
	f.mu.Lock()
	f.pending = news{full: true, reset: reset || f.pending.reset, kvs: kvs, loaded: revision}
	f.waiting.Set(0)
	f.mu.Unlock()
	signal(f.news)
}

// patience is how long news that is not urgent may wait for more: on a busy
// etcd it costs more to wake up than to take them in.
const patience = 10 * time.Millisecond

// putEvents adds what the watch brought, and tells the loop: at once if any of
// it is urgent.
func (f *feed) putEvents(events []*clientv3.Event, revision int64, interest func(string) interest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	most := unwanted
	for _, ev := range events {
		in := interest(string(ev.Kv.Key))
		if in != unwanted {
			f.pending.events = append(f.pending.events, ev)
		}
		most = max(most, in)
	}
	f.pending.revision = revision
	f.pending.fold()
	f.waiting.Set(float64(len(f.pending.events)))
	switch {
	case most == urgent:
		signal(f.news)
	case most == patient && !f.late:
		f.late = true
		time.AfterFunc(patience, f.tellLate)
	}
}

// tellLate tells of news that was not urgent.
func (f *feed) tellLate() {
	f.mu.Lock()
	f.late = false
	news := len(f.pending.events) > 0
	f.mu.Unlock()
	if news {
		signal(f.news)
	}
}

// foldFrom is how many events wait before those are looked for that a newer one
// of the same key has made pointless.
const foldFrom = 250

// fold leaves of each key the newest event, once there are twice as many as it
// left the last time. Before a deletion it leaves the newest value, too, which
// Table.Last tells.
func (n *news) fold() {
	if len(n.events) < max(foldFrom, 2*n.folded) {
		return
	}
	// seen is by key, and true once a value of it is left.
	seen := make(map[string]bool, len(n.events))
	newest := len(n.events)
	for i, ev := range slices.Backward(n.events) {
		valued, known := seen[string(ev.Kv.Key)]
		if pointless := valued || known && ev.Type == mvccpb.DELETE; pointless {
			continue
		}
		seen[string(ev.Kv.Key)] = ev.Type != mvccpb.DELETE
		newest--
		n.events[newest] = n.events[i]
	}
	n.events = slices.Clone(n.events[newest:]) // frees what the others held
	n.folded = len(n.events)
}
