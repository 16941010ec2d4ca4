package state

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// pageSize is how many keys one request of a load asks for.
const pageSize = 5000

// follow loads everything, watches from the next revision, and begins again
// where it has to, until ctx ends.
func (e *Engine) follow(ctx context.Context, feed *feed) {
	reason := "start"
	for failures := 0; ctx.Err() == nil; {
		admitted, reset, err := e.admit(ctx)
		if err == nil && !admitted {
			sleep(ctx, heldInterval)
			continue
		}
		var kvs []*mvccpb.KeyValue
		var revision int64
		if err == nil {
			kvs, revision, err = e.load(ctx, feed)
		}
		if err != nil {
			failures++
			if ctx.Err() == nil {
				e.log.Warn("loading from etcd, will retry", "err", err)
			}
			sleep(ctx, min(100*time.Millisecond<<min(failures, 5), 2*time.Second))
			continue
		}
		failures = 0
		e.metrics.resyncs.WithLabelValues(reason).Inc()
		feed.putLoad(kvs, revision, reset)
		e.reached(revision)
		reason = e.watch(ctx, feed, revision)
		if ctx.Err() == nil {
			e.log.Info("loading everything again", "reason", reason)
		}
	}
}

// load reads all prefixes at one revision, page by page.
func (e *Engine) load(ctx context.Context, feed *feed) (kvs []*mvccpb.KeyValue, revision int64, err error) {
	select {
	case <-feed.reloads: // this is it
	default:
	}
	for _, prefix := range e.store.prefixes {
		key, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
		for {
			resp, err := e.page(ctx, key, end, revision)
			if err != nil {
				return nil, 0, fmt.Errorf("reading %s: %w", prefix, err)
			}
			if revision == 0 {
				revision = resp.Header.Revision
			}
			for _, kv := range resp.Kvs {
				if e.store.interest(string(kv.Key)) != unwanted {
					kvs = append(kvs, kv)
				}
			}
			if !resp.More {
				break
			}
			key = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
		}
	}
	return kvs, revision, nil
}

func (e *Engine) page(ctx context.Context, key, end string, revision int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(pageSize)}
	if revision != 0 {
		opts = append(opts, clientv3.WithRev(revision))
	}
	return e.cfg.Client.Get(ctx, key, opts...)
}

// watch feeds events after revision until a full load is needed, and returns
// why. A watch that merely breaks goes on where it was.
func (e *Engine) watch(ctx context.Context, feed *feed, revision int64) (reason string) {
	for ctx.Err() == nil {
		next, reason := e.watchOnce(ctx, feed, revision)
		if reason != "" {
			e.reached(next)
			return reason
		}
		if next == revision {
			sleep(ctx, 100*time.Millisecond)
		}
		revision = next
		e.reached(revision)
		e.metrics.watchBreaks.Inc()
	}
	return "stop"
}

// watchOnce runs one watch from after revision. It returns up to which
// revision everything has been fed, and why only a load can help, if so.
func (e *Engine) watchOnce(ctx context.Context, feed *feed, revision int64) (int64, string) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	responses := e.openWatch(ctx, cancel, revision+1)
	silence := time.NewTimer(e.cfg.SilenceTimeout)
	defer silence.Stop()
	asked := false
	for {
		select {
		case reason := <-feed.reloads:
			return revision, reason
		case <-e.suspect:
			return revision, "replaced"
		case <-silence.C:
			if asked {
				return revision, "silent"
			}
			asked = true
			e.askProgress(ctx)
			silence.Reset(e.cfg.SilenceTimeout)
		case resp, ok := <-responses:
			if !ok || resp.Err() != nil {
				return revision, e.broken(ctx, resp)
			}
			if e.strange(resp, revision) && e.isOther(ctx) {
				return revision, "replaced"
			}
			asked = false
			silence.Reset(e.cfg.SilenceTimeout)
			e.noteMember(resp)
			revision = e.feedResponse(feed, resp, revision)
			e.fed.Store(revision)
		}
	}
}

// openWatch opens the watch, or cancels it if etcd does not answer in time:
// the client would wait for ever.
func (e *Engine) openWatch(ctx context.Context, cancel func(), from int64) clientv3.WatchChan {
	late := time.AfterFunc(e.cfg.SilenceTimeout, cancel)
	defer late.Stop()
	begin, end := e.store.span()
	return e.cfg.Client.Watch(ctx, begin, clientv3.WithRange(end), clientv3.WithRev(from), clientv3.WithProgressNotify())
}

// askProgress asks the watch for a sign of life. If it can not even be asked,
// its silence tells.
func (e *Engine) askProgress(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.SilenceTimeout)
	defer cancel()
	if err := e.cfg.Client.RequestProgress(ctx); err != nil {
		e.log.Debug("asking the watch for progress", "err", err)
	}
}

// noteMember counts a watch that its client moved to another member by itself,
// because the one before died or was cut off.
func (e *Engine) noteMember(resp clientv3.WatchResponse) {
	if e.member != 0 && e.member != resp.Header.MemberId {
		e.metrics.watchBreaks.Inc()
		e.log.Info("watch goes on at another member of etcd")
	}
	e.member = resp.Header.MemberId
}

// brokenQuiet is how long nothing must have broken for a break to be told. A member of a
// minority ends each watch at once, for as long as nobody leads it.
const brokenQuiet = 10 * time.Second

// broken decides what follows a watch's end: going on, or a load.
func (e *Engine) broken(ctx context.Context, resp clientv3.WatchResponse) string {
	if resp.CompactRevision != 0 {
		return "compacted"
	}
	if ctx.Err() == nil {
		level := slog.LevelWarn
		if time.Since(e.broke) < brokenQuiet {
			level = slog.LevelDebug
		}
		e.broke = time.Now()
		e.log.Log(ctx, level, "watch broke, going on where it was", "err", resp.Err())
	}
	return ""
}

// feedResponse hands on a response's events. The header's revision says
// nothing of events that are still to come, so the newest event's counts; a
// progress notification, which has none, only moves where a new watch begins.
func (e *Engine) feedResponse(feed *feed, resp clientv3.WatchResponse, revision int64) int64 {
	if resp.IsProgressNotify() {
		return max(revision, resp.Header.Revision)
	}
	if len(resp.Events) == 0 {
		return revision
	}
	revision = resp.Events[len(resp.Events)-1].Kv.ModRevision
	feed.putEvents(resp.Events, revision, e.store.interest)
	return revision
}
