package state

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// markerTTL is how long an engine's marker outlives it. It is longer than any
// outage after which an unknown outcome is worth settling.
const markerTTL = 10 * time.Minute

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

// forgetLease reports whether the marker's lease is gone, and forgets it.
func (m *committer) forgetLease(ctx context.Context) bool {
	ttl, err := m.client.TimeToLive(ctx, m.lease)
	if err != nil || ttl.TTL > 0 {
		return false
	}
	m.lease = clientv3.NoLease
	return true
}
