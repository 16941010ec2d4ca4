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
		err := e.oneSession(ctx)
		if err == nil {
			failures = 0
			continue
		}
		failures++
		if ctx.Err() == nil {
			e.log.Warn("opening a session, will retry", "err", err)
		}
		sleep(ctx, min(100*time.Millisecond<<min(failures, 4), time.Second))
	}
}

// oneSession opens a session and returns when it is lost or ctx ended. Each
// has a keep-alive stream of its own: the client's shared one does not come
// back once etcd refused it.
func (e *Engine) oneSession(ctx context.Context) error {
	lessor := clientv3.NewLease(e.cfg.Client)
	defer lessor.Close()
	lease, err := e.grant(ctx, lessor)
	if err != nil {
		return err
	}
	alive, err := lessor.KeepAlive(ctx, lease)
	if err != nil {
		revoke(ctx, e.cfg.Client, lease)
		return err
	}
	if e.isOther(ctx) {
		signal(e.suspect)
	}
	e.tellLease(ctx, lease)
	for range alive {
	}
	if ctx.Err() != nil {
		revoke(ctx, e.cfg.Client, lease)
		return nil
	}
	e.metrics.sessionsLost.Inc()
	e.log.Warn("session with etcd is lost, opening another")
	e.tellLease(ctx, clientv3.NoLease)
	return nil
}

func (e *Engine) grant(ctx context.Context, lessor clientv3.Lease) (clientv3.LeaseID, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CommitTimeout)
	defer cancel()
	granted, err := lessor.Grant(ctx, int64(max(e.cfg.SessionTTL, time.Second)/time.Second))
	if err != nil {
		return clientv3.NoLease, err
	}
	return granted.ID, nil
}

func (e *Engine) tellLease(ctx context.Context, lease clientv3.LeaseID) {
	select {
	case e.leases <- lease:
	case <-ctx.Done():
	}
}

// revoke gives a lease back, briefly and after ctx's end, too.
func revoke(ctx context.Context, client *clientv3.Client, lease clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	// If it fails, the lease ends by itself: nothing depends on it.
	_, _ = client.Revoke(ctx, lease)
}
