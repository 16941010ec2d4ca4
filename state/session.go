package state

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// keepSession holds a lease until ctx ends and tells the loop of each new one,
// and of its loss. On a clean end it gives the lease back, so that what was
// put under it goes at once.
func (e *Engine) keepSession(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		lease, alive, err := e.openSession(ctx)
		if err != nil {
			failures++
			if ctx.Err() == nil {
				e.log.Warn("opening a session, will retry", "err", err)
			}
			sleep(ctx, min(100*time.Millisecond<<min(failures, 4), time.Second))
			continue
		}
		failures = 0
		e.tellLease(ctx, lease)
		for range alive {
		}
		if ctx.Err() != nil {
			revoke(ctx, e.cfg.Client, lease)
			return
		}
		e.metrics.sessionsLost.Inc()
		e.log.Warn("session with etcd is lost, opening another")
		e.tellLease(ctx, clientv3.NoLease)
	}
}

func (e *Engine) openSession(ctx context.Context) (clientv3.LeaseID, <-chan *clientv3.LeaseKeepAliveResponse, error) {
	grantCtx, cancel := context.WithTimeout(ctx, e.cfg.CommitTimeout)
	defer cancel()
	granted, err := e.cfg.Client.Grant(grantCtx, int64(max(e.cfg.SessionTTL, time.Second)/time.Second))
	if err != nil {
		return clientv3.NoLease, nil, err
	}
	alive, err := e.cfg.Client.KeepAlive(ctx, granted.ID)
	return granted.ID, alive, err
}

func (e *Engine) tellLease(ctx context.Context, lease clientv3.LeaseID) {
	select {
	case e.leases <- lease:
	case <-ctx.Done():
	}
}

// revoke gives a lease back, briefly and after ctx's end, too.
func revoke(ctx context.Context, client *clientv3.Client, lease clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
	defer cancel()
	// If it fails, the lease ends by itself: nothing depends on it.
	_, _ = client.Revoke(ctx, lease)
}
