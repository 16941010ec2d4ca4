package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// committer sends an engine's transactions, one at a time. Each puts the
// engine's marker under a compare of the marker's revision, so that of several
// attempts at one transaction at most one is applied, and the marker's value
// tells which transaction was the last.
type committer struct {
	client  *clientv3.Client
	key     string
	timeout time.Duration
	log     *slog.Logger

	lease     clientv3.LeaseID
	refreshed time.Time
	revision  int64
}

// run commits the batch. It returns when the outcome is known, etcd has
// forgotten it, or soon after ctx ended.
func (m *committer) run(ctx context.Context, b *batch) *commit {
	ctx, cancel := linger(ctx, stopGrace)
	defer cancel()
	id := uuid.NewString()
	began := time.Now()
	uncertain := false
	for attempt := 1; ; attempt++ {
		c, err := m.try(ctx, b, id, uncertain)
		if uncertain && (refused(err) || err == nil && c.conflict != nil) {
			c, err = m.fence(ctx, b, id, c, err)
		}
		if err == nil {
			return c
		}
		uncertain = uncertain || !b.empty() && !errors.Is(err, errNotSent) && !refused(err)
		if ctx.Err() != nil {
			err = ErrStopped
		}
		if ctx.Err() != nil || refused(err) || time.Since(began) > markerTTL/2 {
			if uncertain {
				err = errors.Join(err, ErrUnknownOutcome)
			}
			return &commit{batch: b, err: err}
		}
		m.log.Warn("commit not confirmed, settling it", "attempt", attempt, "err", err)
		sleep(ctx, min(retryDelay(attempt+5), time.Second))
	}
}

// stopGrace is how long a commit that is under way may go on after ctx ended.
const stopGrace = 300 * time.Millisecond

// linger returns a context that ends a while after ctx.
func linger(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return longer, func() {
		stop()
		cancel()
	}
}

// errNotSent says that an attempt can not have been applied: it was not sent,
// or etcd refused it for the marker's lease.
var errNotSent = errors.New("transaction not sent")

// try sends the transaction once.
func (m *committer) try(ctx context.Context, b *batch, id string, uncertain bool) (*commit, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	compares, then, otherwise := b.ops()
	if !b.empty() {
		if err := m.ensureLease(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", errNotSent, err)
		}
		compares = append(compares, m.unchanged())
		then = append(then, clientv3.OpPut(m.key, id, clientv3.WithLease(m.lease)))
		otherwise = append(otherwise, clientv3.OpGet(m.key))
	}
	resp, err := m.client.Txn(ctx).If(compares...).Then(then...).Else(otherwise...).Commit()
	if errors.Is(err, rpctypes.ErrLeaseNotFound) && !b.empty() && m.forgetLease(ctx) {
		return nil, fmt.Errorf("%w: marker's lease is gone", errNotSent)
	}
	if err != nil {
		return nil, err
	}
	if !resp.Succeeded {
		return m.failed(b, resp, id, uncertain), nil
	}
	if b.empty() {
		return &commit{batch: b}, nil
	}
	m.revision = resp.Header.Revision
	return &commit{batch: b, revision: m.revision}, nil
}

// unchanged compares the marker with what this committer put there last.
func (m *committer) unchanged() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(m.key), "=", m.revision)
}

// fence is needed before an uncertain transaction is said to have failed: an
// earlier attempt may still be on its way, and find what it compares as it
// wants it (a key that was absent can be absent again). Once the marker has
// moved, no attempt can be applied. If none was, the end is c, or failure.
func (m *committer) fence(ctx context.Context, b *batch, id string, c *commit, failure error) (*commit, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	resp, err := m.client.Txn(ctx).
		If(m.unchanged()).
		Then(clientv3.OpPut(m.key, uuid.NewString(), clientv3.WithLease(m.lease))).
		Else(clientv3.OpGet(m.key)).
		Commit()
	if err != nil {
		return nil, err
	}
	if resp.Succeeded {
		m.revision = resp.Header.Revision
		if failure != nil {
			c = &commit{batch: b, err: failure}
		}
		return c, nil
	}
	settled := m.failed(b, resp, id, true)
	if settled.conflict != nil {
		return nil, errors.New("marker moved while it was fenced")
	}
	return settled, nil
}

// failed tells a conflict from an attempt that had been committed after all.
func (m *committer) failed(b *batch, resp *clientv3.TxnResponse, id string, uncertain bool) *commit {
	found := &conflict{revision: resp.Header.Revision, keys: map[string]int64{}}
	for key := range b.compares {
		found.keys[key] = 0
	}
	known, marker := m.revision, int64(0)
	for _, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			if string(kv.Key) != m.key {
				found.keys[string(kv.Key)] = kv.ModRevision
				continue
			}
			marker = kv.ModRevision
			if string(kv.Value) == id {
				m.revision = marker
				return &commit{batch: b, revision: marker}
			}
		}
	}
	if b.empty() {
		return &commit{batch: b, conflict: found}
	}
	m.revision = marker
	if uncertain && known != 0 && marker == 0 {
		return &commit{batch: b, err: ErrUnknownOutcome}
	}
	return &commit{batch: b, conflict: found}
}

// refused reports whether err proves that etcd did not apply the transaction
// and will not.
func refused(err error) bool {
	for _, definite := range []error{
		rpctypes.ErrLeaseNotFound, rpctypes.ErrTooManyOps, rpctypes.ErrRequestTooLarge, rpctypes.ErrNoSpace,
		rpctypes.ErrDuplicateKey, rpctypes.ErrPermissionDenied, rpctypes.ErrUserEmpty, rpctypes.ErrAuthFailed,
	} {
		if errors.Is(err, definite) {
			return true
		}
	}
	return false
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
