package registrar

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/state"
)

// A leader that dies leaves its key behind until the key's lease ends: up to
// 20 s in which nobody may take over. Once Docker has said that the container
// is dead, nobody stands behind the key, and it can go at once.
//
// What makes that safe is one number. Patroni, started again under the same
// name, finds a key with its own name as value and puts it anew: the value is
// the same then, the create revision, too, only the mod revision is not. So
// the key is deleted only as it was while its dead writer was proven dead and
// not yet started again, by mod revision and value. Keep-alives do not touch
// the mod revision, and a late or repeated transaction finds another and does
// nothing.

const (
	// leaderTTL is how long Patroni's leader key outlives its holder.
	leaderTTL = 20 * time.Second
	// fenceTimeout bounds one question to etcd.
	fenceTimeout = time.Second
	// freshness is how old a die event may be when the key has been read, and
	// still prove by itself that no later run wrote the key: Docker takes longer
	// than that to clean up and start a process, and Patroni to get to its first
	// look at etcd. Asking Docker instead takes 150 ms at that moment.
	freshness = 250 * time.Millisecond
)

// verdict is how a fencing ended.
type verdict int

const (
	// released: the key was the dead node's and is gone.
	released verdict = iota
	// vacant: nobody holds the key.
	vacant
	// elsewhere: another member holds the key.
	elsewhere
	// moved: somebody put the key anew meanwhile. It is not ours to touch.
	moved
	// alive: the container runs again. There is nothing to fence.
	alive
	// unsettled: etcd did not answer for as long as the key can have lived.
	unsettled
)

var verdicts = [...]string{"released", "vacant", "elsewhere", "moved", "alive", "unsettled"}

func (v verdict) String() string { return verdicts[v] }

// fencer takes the leader key of a cluster away from a node whose container is
// dead.
type fencer struct {
	etcd clientv3.KV
	// inspect asks Docker for a container by its id.
	inspect func(ctx context.Context, id string) (container, bool, error)
	// limit is how long an etcd that does not answer is asked. Default leaderTTL.
	limit time.Duration
	// fresh is how old a die event may be that proves by itself. Default
	// freshness.
	fresh time.Duration
	log   *slog.Logger
	// fencings counts by outcome.
	fencings *prometheus.CounterVec
}

// fencing is one death's: what was found out so far.
type fencing struct {
	*fencer
	key, node string
	death     death
	// revision is the key's mod revision as the dead run left it. 0: not known.
	revision int64
	// sent says that a deletion of that revision is under way, or was.
	sent bool
}

// fence sees to it that the node does not hold the leader key of its cluster
// as the dead run left it. Nobody may start the container again before it has
// returned. The error is ctx's.
func (f *fencer) fence(ctx context.Context, instance, node string, d death) (verdict, error) {
	began := time.Now()
	asking, cancel := context.WithTimeout(ctx, cmp.Or(f.limit, leaderTTL))
	defer cancel()
	c := &fencing{fencer: f, key: state.LeaderKey(instance), node: node, death: d}
	v := c.settle(asking)
	if ctx.Err() != nil {
		return v, context.Cause(ctx)
	}
	f.fencings.WithLabelValues(v.String()).Inc()
	log := f.log.With("instance", instance, "member", node, "container", d.run.id,
		"died", d.at, "evidence", d.evidence(), "revision", c.revision, "took", time.Since(began))
	switch v {
	case released:
		log.InfoContext(ctx, "leader's container died, leader key deleted")
	case unsettled:
		log.WarnContext(ctx, "etcd does not answer, leader key left to its lease")
	default:
		log.DebugContext(ctx, "container died, no leader key to delete", "outcome", v.String())
	}
	return v, nil
}

// settle tries until the outcome is known. While it is not, the same question
// is asked about the same revision: asking again is harmless then, and nothing
// is restarted before the answer. If etcd stays away for the key's whole TTL,
// the key is gone by itself, or was put anew and is safe from the revision.
func (c *fencing) settle(ctx context.Context) verdict {
	for ctx.Err() == nil {
		v, err := c.try(ctx)
		if err == nil {
			return v
		}
		if ctx.Err() == nil {
			c.log.WarnContext(ctx, "fencing is not settled, will retry", "member", c.node, "revision", c.revision, "err", err)
		}
		staff.Pause(ctx, rand.N(100*time.Millisecond))
	}
	return unsettled
}

// try is one attempt. An error leaves the outcome unknown.
func (c *fencing) try(ctx context.Context) (verdict, error) {
	kv, err := c.read(ctx)
	switch {
	case err != nil:
		return 0, err
	case kv == nil && c.sent:
		return released, nil
	case kv == nil:
		return vacant, nil
	case string(kv.Value) != c.node:
		return elsewhere, nil
	case c.revision == 0:
		// The order counts: the run was over when the key was read, and after
		// the reading there still had been no other. So the dead run wrote it.
		if over, err := c.over(ctx); err != nil || !over {
			return alive, err
		}
		c.revision = kv.ModRevision
	case c.revision != kv.ModRevision:
		return moved, nil
	}
	c.sent = true
	return c.release(ctx)
}

// read reads the leader key, linearizably: what a minority of etcd's members
// still believes is no ground to act on.
func (c *fencing) read(ctx context.Context) (*mvccpb.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	resp, err := c.etcd.Get(ctx, c.key)
	if err != nil || len(resp.Kvs) == 0 {
		return nil, err
	}
	return resp.Kvs[0], nil
}

// over reports whether the dead run is still the container's last.
func (c *fencing) over(ctx context.Context) (bool, error) {
	if c.death.young(cmp.Or(c.fresh, freshness)) {
		return true, nil
	}
	found, here, err := c.inspect(ctx, c.death.run.id)
	if err != nil {
		return false, err
	}
	if !here {
		return true, nil
	}
	d, died := found.death()
	return died && d.run.is(c.death.run), nil
}

// release deletes the key if it is exactly what the dead run left.
func (c *fencing) release(ctx context.Context) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	resp, err := c.etcd.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(c.key), "=", c.revision), clientv3.Compare(clientv3.Value(c.key), "=", c.node)).
		Then(clientv3.OpDelete(c.key)).
		Commit()
	if err != nil {
		return 0, errors.Join(errors.New("deletion not confirmed"), err)
	}
	if !resp.Succeeded {
		return moved, nil
	}
	return released, nil
}
