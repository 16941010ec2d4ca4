package state

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// markerTTL is how long an engine's marker outlives it. It is longer than any
// outage after which an unknown outcome is worth settling.
const markerTTL = 10 * time.Minute

// commit is one batch's transaction and how it ended: an error, a conflict, or
// a revision.
type commit struct {
	batch    *batch
	revision int64
	conflict *conflict
	err      error
}

func (c *commit) outcome() string {
	switch {
	case c.err != nil:
		return "refused"
	case c.conflict != nil:
		return "conflict"
	}
	return "committed"
}

// conflict is what etcd held instead of what the batch was computed from.
type conflict struct {
	revision int64
	// keys maps each compared key to its ModRevision, 0 if it does not exist.
	keys map[string]int64
}

// caughtUp reports whether the picture is at least as new as the conflict.
func (c *commit) caughtUp(s *store) bool {
	for key, revision := range c.conflict.keys {
		have := s.kvs[key].ModRevision
		gone := have == 0 && s.revision > revision || have > c.conflict.revision
		if have < revision && !gone || revision == 0 && have != 0 && !gone {
			return false
		}
	}
	return true
}

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

// run commits the batch. It returns only when the outcome is known, ctx ended,
// or etcd has forgotten.
func (m *committer) run(ctx context.Context, b *batch) *commit {
	id := uuid.NewString()
	began := time.Now()
	uncertain := false
	for attempt := 1; ; attempt++ {
		c, err := m.try(ctx, b, id, uncertain)
		if err == nil {
			return c
		}
		if ctx.Err() != nil {
			return &commit{batch: b, err: errors.Join(ErrStopped, ErrUnknownOutcome)}
		}
		if refused(err) {
			return &commit{batch: b, err: err}
		}
		if time.Since(began) > markerTTL/2 {
			return &commit{batch: b, err: errors.Join(ErrUnknownOutcome, err)}
		}
		uncertain = true
		m.log.Warn("commit not confirmed, settling it", "attempt", attempt, "err", err)
		sleep(ctx, min(retryDelay(attempt+5), time.Second))
	}
}

// try sends the transaction once.
func (m *committer) try(ctx context.Context, b *batch, id string, uncertain bool) (*commit, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	compares, then, otherwise := b.ops()
	if !b.empty() {
		if err := m.ensureLease(ctx); err != nil {
			return nil, err
		}
		compares = append(compares, clientv3.Compare(clientv3.ModRevision(m.key), "=", m.revision))
		then = append(then, clientv3.OpPut(m.key, id, clientv3.WithLease(m.lease)))
		otherwise = append(otherwise, clientv3.OpGet(m.key))
	}
	resp, err := m.client.Txn(ctx).If(compares...).Then(then...).Else(otherwise...).Commit()
	if errors.Is(err, rpctypes.ErrLeaseNotFound) && !b.empty() && m.forgetLease(ctx) {
		return nil, errMarkerLease
	}
	if err != nil {
		return nil, err
	}
	if resp.Succeeded {
		if b.empty() {
			return &commit{batch: b}, nil
		}
		m.revision = resp.Header.Revision
		return &commit{batch: b, revision: m.revision}, nil
	}
	return m.failed(b, resp, id, uncertain), nil
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
	m.revision = marker
	if uncertain && known != 0 && marker == 0 {
		return &commit{batch: b, err: ErrUnknownOutcome}
	}
	return &commit{batch: b, conflict: found}
}

// ensureLease sees to it that the marker's lease lives on for a good while.
func (m *committer) ensureLease(ctx context.Context) error {
	if m.lease != clientv3.NoLease && time.Since(m.refreshed) < markerTTL/3 {
		return nil
	}
	if m.lease != clientv3.NoLease {
		_, err := m.client.KeepAliveOnce(ctx, m.lease)
		if err == nil {
			m.refreshed = time.Now()
		}
		if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return err
		}
	}
	granted, err := m.client.Grant(ctx, int64(markerTTL.Seconds()))
	if err != nil {
		return err
	}
	m.lease, m.refreshed = granted.ID, time.Now()
	return nil
}

// close gives the marker's lease back, so that nothing of the engine is left.
func (m *committer) close(ctx context.Context) {
	if m.lease == clientv3.NoLease {
		return
	}
	revoke(ctx, m.client, m.lease)
}

// errMarkerLease asks for another attempt with a new lease for the marker.
var errMarkerLease = errors.New("marker's lease is gone")

// forgetLease reports whether the marker's lease is gone, and forgets it.
func (m *committer) forgetLease(ctx context.Context) bool {
	ttl, err := m.client.TimeToLive(ctx, m.lease)
	if err != nil || ttl.TTL > 0 {
		return false
	}
	m.lease = clientv3.NoLease
	return true
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
