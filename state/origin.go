package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrReplaced says that what answers is not the etcd that the engine's picture is
// of: its data is gone, or older than the picture.
var ErrReplaced = errors.New("etcd was emptied or replaced: nothing is changed until its records are back, see pgpatron recover")

// ErrUnread says that nothing is known of etcd yet.
var ErrUnread = errors.New("etcd has not been read yet")

const (
	// originTimeout bounds the question which etcd this is.
	originTimeout = 5 * time.Second
	// heldInterval is how often it is asked while it is the wrong one.
	heldInterval = 500 * time.Millisecond
)

// origin tells one etcd from another: its cluster, how far that is, the site that
// it serves, and how often that was recovered. The zero origin is of none.
type origin struct {
	cluster  uint64
	revision int64
	site     string
	era      int
}

// verdict is what becomes of a picture when etcd is asked again.
type verdict int

const (
	// same: etcd is the one that the picture is of.
	same verdict = iota
	// recovered: it is another, and has been told to serve the site.
	recovered
	// replaced: it is another, and nobody has.
	replaced
)

// judge compares the etcd that the picture is of with the one that answers. A
// cluster that is made again of the same members has the same id: what it has
// lost shows by its revision, or by the site's id if that has come further since.
func (o origin) judge(now origin) verdict {
	continues := o.cluster == now.cluster && o.revision <= now.revision
	known := o.site == "" || o.site == now.site
	switch {
	case known && (o.cluster == 0 || continues && o.era == now.era):
		return same
	case o.cluster != 0 && now.era > o.era && (continues || o.site != "" && known):
		return recovered
	}
	return replaced
}

// askOrigin asks etcd who it is. Whoever may not know, as a node, gets the zero
// origin.
func askOrigin(ctx context.Context, client clientv3.KV) (o origin, err error) {
	ctx, cancel := context.WithTimeout(ctx, originTimeout)
	defer cancel()
	site, err := client.Get(ctx, SiteKey())
	var era *clientv3.GetResponse
	if err == nil {
		era, err = client.Get(ctx, EraKey())
	}
	if errors.Is(err, rpctypes.ErrPermissionDenied) {
		return origin{}, nil
	}
	if err != nil {
		return origin{}, fmt.Errorf("reading which site this is: %w", err)
	}
	o = origin{cluster: era.Header.ClusterId, revision: era.Header.Revision}
	for _, kv := range site.Kvs {
		o.site = string(kv.Value)
	}
	for _, kv := range era.Kvs {
		if o.era, err = Integer(kv.Value); err != nil {
			return origin{}, fmt.Errorf("reading %s: %w", kv.Key, err)
		}
	}
	return o, nil
}

// admit asks etcd who it is, and reports whether its contents may become the
// picture, and whether in the place of another etcd's.
func (e *Engine) admit(ctx context.Context) (admitted, reset bool, err error) {
	now, err := askOrigin(ctx, e.cfg.Client)
	if err != nil {
		return false, false, err
	}
	before := e.origin.Load()
	v := before.judge(now)
	if now.cluster == 0 {
		v = same
	}
	if v == replaced {
		if !e.held.Swap(true) {
			e.metrics.held.Set(1)
			e.log.Error("etcd is not the one that it was: what is known stays as it is, and nothing is changed, until its records are back",
				"site", before.site, "found", now.site, "revision", before.revision, "found_revision", now.revision)
		}
		return false, false, nil
	}
	if v == recovered {
		e.held.Store(true) // until the loop has taken in the new contents
	}
	if e.held.Load() {
		e.log.Warn("etcd has the site's records again", "site", now.site, "era", now.era)
	}
	e.origin.Store(&now)
	e.fed.Store(now.revision)
	return true, e.held.Load(), nil
}

// reached notes how far the etcd is that the picture is of.
func (e *Engine) reached(revision int64) {
	o := *e.origin.Load()
	o.revision = max(o.revision, revision)
	e.origin.Store(&o)
}

// strange reports whether a watch's response can not be of the etcd that the
// picture is of, or is of a member that lags behind: admit tells.
func (e *Engine) strange(resp clientv3.WatchResponse, revision int64) bool {
	o := e.origin.Load()
	return o.cluster != 0 && (resp.Header.ClusterId != o.cluster || resp.Header.Revision < revision)
}

// isOther asks whether etcd is another than the picture's.
func (e *Engine) isOther(ctx context.Context) bool {
	now, err := askOrigin(ctx, e.cfg.Client)
	return err == nil && now.cluster != 0 && e.origin.Load().judge(now) != same
}

// learnSite asks for the site's id until there is one: it may be given after the
// picture was loaded.
func (e *Engine) learnSite(ctx context.Context) {
	for ctx.Err() == nil {
		before := e.origin.Load()
		if before.site != "" {
			return
		}
		now, err := askOrigin(ctx, e.cfg.Client)
		if err == nil && now.site != "" && before.cluster != 0 && before.judge(now) == same {
			e.origin.CompareAndSwap(before, &now)
		}
		sleep(ctx, e.cfg.SilenceTimeout)
	}
}

// Held returns ErrReplaced while etcd is not the one that the picture is of. The
// picture stays as it was then, no Tick comes, and nothing is committed.
func (e *Engine) Held() error {
	if e.held.Load() {
		return ErrReplaced
	}
	return nil
}

// Fit returns why the picture can not be relied on: ErrReplaced while the engine is
// held, ErrUnread before there is one. nil: it can.
func (e *Engine) Fit() error {
	if err := e.Held(); err != nil {
		return err
	}
	select {
	case <-e.ready:
		return nil
	default:
		return ErrUnread
	}
}

// Recognise is for those who ask etcd beside the engine. Call it before the question;
// what it returns returns ErrReplaced for an answer that is not of the etcd that the
// picture is of, and while the engine is held.
func (e *Engine) Recognise() func(answer *etcdserverpb.ResponseHeader) error {
	// An answer may be older than what the picture has become since.
	o, fed := e.origin.Load(), e.fed.Load()
	return func(answer *etcdserverpb.ResponseHeader) error {
		if o.cluster != 0 && (answer.GetClusterId() != o.cluster || answer.GetRevision() < fed) {
			return ErrReplaced
		}
		return e.Held()
	}
}

// Site returns the id of the site that the picture is of; "" if it has none, or
// nothing is known yet.
func (e *Engine) Site() string { return e.origin.Load().site }
