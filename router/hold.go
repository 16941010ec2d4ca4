package router

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"
)

// departureInterval is how often a connection that waits is asked whether its
// client is still there. A client that has ended its side is given that long,
// too: it may have said all it has to say.
const departureInterval = 500 * time.Millisecond

// The reasons for which a connection ends while it waits.
var (
	errHoldOver   = errors.New("no leader in time")
	errClientLeft = errors.New("the client left")
)

// holder joins new connections with leaders, and lets them wait until that can
// be done.
type holder struct {
	dialer  *dialer
	prober  *prober
	metrics *metrics
	hold    time.Duration
}

// connect joins a client with the leader of its instance, once there is one
// that takes writes. It follows every change of leader at once.
func (h *holder) connect(ctx context.Context, r *route, client *net.TCPConn) (*session, error) {
	ctx, cancel := h.patience(ctx, client)
	defer cancel()
	defer h.metrics.held()()
	for failures := 0; ; {
		g := r.current()
		err := h.prober.await(ctx, r, g)
		if err == nil {
			server, dialErr := h.dial(ctx, g)
			if dialErr == nil {
				s := &session{route: r, leader: g.leader, client: client, server: server}
				if r.admit(s) {
					return s, nil
				}
				reset(server)
				continue
			}
			failures++
			err = h.afterFailure(ctx, r, g, failures, dialErr)
		}
		if err != nil && !errors.Is(err, errReignOver) {
			return nil, err
		}
	}
}

// dial reaches for the reign's leader as long as it leads.
func (h *holder) dial(ctx context.Context, g *reign) (*net.TCPConn, error) {
	ctx, cancel := joined(ctx, g.ctx)
	defer cancel()
	return h.dialer.dial(ctx, g.leader.addr)
}

// afterFailure has the leader looked at again, and waits a little unless another
// leads.
func (h *holder) afterFailure(ctx context.Context, r *route, g *reign, failures int, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if g.ctx.Err() != nil {
		return context.Cause(g.ctx)
	}
	h.metrics.dialFailures.Inc()
	r.log.Debug("leader not reached, will retry", "member", g.leader.member, "addr", g.leader.addr, "err", err)
	r.doubt(g)
	ctx, cancel := joined(ctx, r.current().ctx)
	defer cancel()
	return sleep(ctx, backoff(failures, 10*time.Millisecond, 200*time.Millisecond))
}

// patience returns a context that ends when the hold is over or the client has
// left.
func (h *holder) patience(ctx context.Context, client *net.TCPConn) (context.Context, context.CancelFunc) {
	ctx, expire := context.WithTimeoutCause(ctx, h.hold, errHoldOver)
	ctx, cancel := context.WithCancelCause(ctx)
	var check *time.Timer
	check = time.AfterFunc(time.Hour, func() {
		switch {
		case ctx.Err() != nil:
		case hasLeft(client):
			cancel(errClientLeft)
		default:
			check.Reset(departureInterval)
		}
	})
	check.Reset(departureInterval)
	return ctx, func() {
		check.Stop()
		cancel(nil)
		expire()
	}
}

// backoff grows from first to last with the number of failures in a row, with
// jitter.
func backoff(failures int, first, last time.Duration) time.Duration {
	limit := min(first<<min(failures-1, 20), last)
	return limit/2 + rand.N(limit/2+1)
}
