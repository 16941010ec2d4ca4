package registrar

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// lossTTL is how long what was told outlives the registrar, in seconds: one that is
// started anew knows no better than anybody else.
const lossTTL = 900

// witness tells in etcd that this is not the etcd with the site's records, while that
// is so. A broker that is started over an emptied one takes it for a new site's: it
// would say of each instance that it is gone, and platforms would forget them.
type witness struct {
	etcd *clientv3.Client
	cfg  Config
	// lease is that of what was told, NoLease if nothing was.
	lease clientv3.LeaseID
}

// look tells that etcd has lost the site's records, or takes it back, if the other
// was told before.
func (w *witness) look(ctx context.Context, lost bool) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	switch told := w.lease != clientv3.NoLease; {
	case lost && told:
		return w.keep(ctx)
	case lost:
		return w.tell(ctx)
	case told:
		return w.withdraw(ctx)
	}
	return nil
}

// tell writes what was lost, and since when it is known here.
func (w *witness) tell(ctx context.Context) error {
	value, err := json.Marshal(state.Loss{Backend: w.cfg.ID, Site: w.cfg.Site, Since: time.Now().UTC()})
	if err != nil {
		return err
	}
	lease, err := w.etcd.Grant(ctx, lossTTL)
	if err != nil {
		return err
	}
	if _, err := w.etcd.Put(ctx, state.LossKey(w.cfg.ID), string(value), clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	w.lease = lease.ID
	return nil
}

// keep has it stay. If that etcd was replaced, too, it is told again.
func (w *witness) keep(ctx context.Context) error {
	_, err := w.etcd.KeepAliveOnce(ctx, w.lease)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		w.lease = clientv3.NoLease
		return w.tell(ctx)
	}
	return err
}

// withdraw takes it back.
func (w *witness) withdraw(ctx context.Context) error {
	if _, err := w.etcd.Revoke(ctx, w.lease); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return err
	}
	w.lease = clientv3.NoLease
	return nil
}
