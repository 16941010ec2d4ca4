package router

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

const (
	// probeInterval is the least time from one question to the next, probeRest the most.
	// Patroni takes milliseconds for each, and is needed to promote, or to start its server.
	probeInterval = 20 * time.Millisecond
	probeRest     = 100 * time.Millisecond
	// probeTimeout bounds one question: a busy node may take a while to answer,
	// and a frozen one must not hide that it has been restarted.
	probeTimeout = 500 * time.Millisecond
	// probeSilence is how long Patroni's REST API may not answer at all before
	// the leader key alone decides.
	probeSilence = 2 * time.Second
)

// prober finds out when a new leader takes writes. A member holds the leader key
// before it is promoted, and answers writes with 25006 until then.
type prober struct {
	http    *http.Client
	dialer  *net.Dialer
	metrics *metrics
	log     *slog.Logger
}

func newProber(dialTimeout time.Duration, m *metrics, log *slog.Logger) *prober {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: probeTimeout}).DialContext,
		MaxIdleConnsPerHost: 1,
		IdleConnTimeout:     2 * time.Second,
	}
	return &prober{http: &http.Client{Transport: transport, Timeout: probeTimeout}, dialer: &net.Dialer{Timeout: dialTimeout}, metrics: m, log: log}
}

// close ends the connections that are kept.
func (p *prober) close() { p.http.CloseIdleConnections() }

// probing is what one prober leaves to the next.
type probing struct {
	// reign is the one that the times belong to: when its first question was
	// asked, and since when Patroni has not answered.
	reign  *reign
	began  time.Time
	silent time.Time
	// asked is when the leader was asked last, in whichever of its reigns.
	asked time.Time
}

// enter goes over to a reign. Of one leader questions keep their distance through
// all its reigns; another one is asked at once.
func (s *probing) enter(g *reign) {
	next := probing{reign: g, began: time.Now()}
	if s.reign != nil && s.reign.leader.same(g.leader) {
		next.asked = s.asked
	}
	*s = next
}

// pause is how long the next question has to wait.
func (s *probing) pause() time.Duration {
	return time.Until(s.asked.Add(distance(time.Since(s.began))))
}

// distance is the time from one question to the next when a leader has been waited for so
// long: an eighth of that, so that the answer is never late by more, within limits.
func distance(waited time.Duration) time.Duration {
	return min(max(waited/8, probeInterval), probeRest)
}

// await waits until the reign's leader takes writes. Of all that wait for it
// one asks; if that one leaves, the next takes over.
func (p *prober) await(ctx context.Context, r *route, g *reign) error {
	token := r.probing
	if g.leader.nobody() {
		token = nil
	}
	select {
	case <-g.ready:
		return nil
	case <-g.ctx.Done():
		return context.Cause(g.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	case state := <-token:
		defer func() { token <- state }()
		return p.probe(ctx, g, &state)
	}
}

// probe asks until the leader takes writes, for whoever waits for that.
func (p *prober) probe(ctx context.Context, g *reign, s *probing) error {
	ctx, cancel := joinedContext(ctx, g.ctx)
	defer cancel()
	if s.reign != g {
		s.enter(g)
	}
	for !g.isReady() {
		if err := sleep(ctx, s.pause()); err != nil {
			return err
		}
		s.asked = time.Now()
		if p.takesWrites(ctx, g.leader, s) && p.locate(ctx, g) {
			p.metrics.probeSeconds.Observe(time.Since(s.began).Seconds())
			close(g.ready)
		}
	}
	return nil
}

// locate finds the address of the reign's leader.
func (p *prober) locate(ctx context.Context, g *reign) bool {
	target, err := p.find(ctx, g.leader.addr)
	if err != nil {
		p.log.Warn("leader's address can not be resolved, will retry", "addr", g.leader.addr, "err", err)
		return false
	}
	g.target = target
	return true
}

// find returns the address of a server.
func (p *prober) find(ctx context.Context, hostPort string) (netip.AddrPort, error) {
	resolving, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	all, err := resolve(resolving, hostPort)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return p.choose(ctx, all), nil
}

// choose returns the first of a name's addresses to take a connection, if any does:
// a host that has an IPv6 address need not serve there. All are asked at once, so
// that one which is silent hides no other.
func (p *prober) choose(ctx context.Context, all []netip.AddrPort) netip.AddrPort {
	if len(all) == 1 {
		return all[0]
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	answers := make(chan netip.AddrPort, len(all))
	for _, at := range all {
		asking.Go(func() {
			if !p.accepts(ctx, at.String()) {
				at = netip.AddrPort{}
			}
			answers <- at
		})
	}
	for range all {
		if at := <-answers; at.IsValid() {
			return at
		}
	}
	return all[0]
}

// takesWrites asks the leader once. Anything but Patroni's yes or no is silence;
// after enough of it the leader key decides, if PostgreSQL is there at all.
func (p *prober) takesWrites(ctx context.Context, l leader, s *probing) bool {
	switch {
	case l.held:
		return false
	case l.away:
		return p.accepts(ctx, l.addr)
	}
	primary, err := p.ask(ctx, l)
	if err == nil {
		s.silent = time.Time{}
		return primary
	}
	if ctx.Err() != nil {
		return false
	}
	if s.silent.IsZero() {
		s.silent = s.asked
	}
	// Of a leader from disk nobody has seen the key.
	if l.term == 0 || time.Since(s.silent) < probeSilence || !p.accepts(ctx, l.addr) {
		return false
	}
	p.metrics.fallbacks.Inc()
	p.log.Warn("patroni does not answer, going by the leader key alone", "member", l.member, "addr", l.addr, "err", err)
	return true
}

func (p *prober) ask(ctx context.Context, l leader) (bool, error) {
	client, err := patroni.NewClient(l.api, state.Credentials{}, p.http)
	if err != nil {
		return false, err
	}
	return client.IsPrimary(ctx)
}

// accepts reports whether a server takes connections.
func (p *prober) accepts(ctx context.Context, addr string) bool {
	conn, err := p.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// joinedContext returns a context that ends with either of two.
func joinedContext(a, b context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(a)
	stop := context.AfterFunc(b, func() { cancel(context.Cause(b)) })
	return ctx, func() { stop(); cancel(nil) }
}

// sleep waits for d, if that is positive, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
