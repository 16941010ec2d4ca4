package watchdog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/registrar/internal/staff"
)

// How often a node is asked. Leaders more often: their silence costs.
const (
	leaderInterval  = 500 * time.Millisecond
	replicaInterval = 2 * time.Second
	// confirmDelay is how long after an abrupt end the server is asked again.
	confirmDelay = 50 * time.Millisecond
)

// sentry watches one run of one node. Its questions are asked beside each
// other, so that what hangs does not keep the other from being heard.
type sentry struct {
	cfg     Config
	target  Target
	log     *slog.Logger
	patroni *patroni.Client
	// ended tells at once that the connection ended abruptly and there is no server any more.
	ended chan struct{}

	// mu guards judge.
	mu    sync.Mutex
	judge judge

	// doubted are silences of the server and of Patroni whose reason is looked into. They
	// are the beat's.
	doubted struct{ postgres, patroni suspicion }
}

func newSentry(cfg Config, t Target) *sentry {
	s := &sentry{
		cfg: cfg, target: t, judge: judge{patience: cfg.Patience}, ended: make(chan struct{}, 1),
		log: cfg.Log.With("instance", t.Instance, "member", t.Node),
	}
	client, err := patroni.NewClient(t.API, t.Login, nil)
	if err != nil {
		s.log.Warn("patroni can not be watched", "err", err)
	}
	s.patroni = client
	return s
}

// run watches until ctx ends.
func (s *sentry) run(ctx context.Context) {
	var askers sync.WaitGroup
	defer askers.Wait()
	askers.Go(func() { s.askPostgres(ctx) })
	if s.patroni != nil {
		askers.Go(func() { s.askPatroni(ctx) })
	}
	beat := time.NewTicker(leaderInterval)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.ended:
		case <-beat.C:
		}
		s.lookForStarvation()
		s.mu.Lock()
		finding, bad := s.judge.weigh(time.Now(), leaderInterval, s.cfg.Office(s.target))
		s.mu.Unlock()
		if bad {
			s.bite(ctx, finding)
		}
	}
}

// lookForStarvation finds out whether who is silent waits for a processor.
func (s *sentry) lookForStarvation() {
	now := time.Now()
	s.mu.Lock()
	postgres, patroni := s.judge.postgres, s.judge.patroni
	s.mu.Unlock()
	server := s.doubted.postgres.starved(now, postgres, func() (waits, error) { return readWaits(s.target.PID, s.target.Container, true) })
	rest := s.doubted.patroni.starved(now, patroni, func() (waits, error) { return readWaits(s.target.PID, s.target.Container, false) })
	s.mu.Lock()
	s.judge.postgres.starved, s.judge.patroni.starved = server, rest
	s.mu.Unlock()
}

// bite hands a finding on. Afterwards everything is judged anew.
func (s *sentry) bite(ctx context.Context, f Finding) {
	if err := s.cfg.Bite(ctx, s.target, f); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "not fenced", "cause", f.Cause, "evidence", f.Evidence, "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judge.rest(time.Now())
	s.judge.gone = false
}

// interval is how often the node is asked now.
func (s *sentry) interval() time.Duration {
	s.mu.Lock()
	writable := s.judge.writable
	s.mu.Unlock()
	if o := s.cfg.Office(s.target); o.Leads || !o.Known || writable {
		return leaderInterval
	}
	return replicaInterval
}

// askPostgres asks the server again and again.
func (s *sentry) askPostgres(ctx context.Context) {
	p := &postgres{target: s.target}
	defer p.close(ctx)
	for ctx.Err() == nil {
		s.hear(ctx, p)
		if p.rest(ctx, s.interval()) {
			s.confirmEnd(ctx, p)
		}
	}
}

// hear asks once and notes the answer.
func (s *sentry) hear(ctx context.Context, p *postgres) reply {
	asking, cancel := context.WithTimeout(ctx, s.cfg.Patience)
	defer cancel()
	got, writable := p.ask(asking)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case got == answered:
		s.judge.postgres.heard, s.judge.writable = time.Now(), writable
	case got == refused && !s.judge.postgres.heard.IsZero():
		// Nobody hangs there, and nobody takes writes: a server that is down is
		// Patroni's to start.
		s.judge.postgres.heard, s.judge.writable = time.Now(), false
	}
	return got
}

// confirmEnd finds out whether a server whose connection ended abruptly
// is gone. Only in a synchronous cluster that is a reason to let another take
// over: an asynchronous one loses nothing if the server is started where it is.
func (s *sentry) confirmEnd(ctx context.Context, p *postgres) {
	if !s.target.Synchronous {
		return
	}
	for range 2 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(confirmDelay):
		}
		if s.hear(ctx, p) != refused {
			return
		}
	}
	s.mu.Lock()
	s.judge.gone = true
	s.mu.Unlock()
	staff.Poke(s.ended)
}

// askPatroni asks Patroni again and again.
func (s *sentry) askPatroni(ctx context.Context) {
	for ctx.Err() == nil {
		asking, cancel := context.WithTimeout(ctx, s.cfg.Patience)
		// Any answer is one: Patroni says so itself if something is wrong.
		err := s.patroni.Alive(asking)
		cancel()
		s.mu.Lock()
		if err == nil {
			s.judge.patroni.heard = time.Now()
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(s.interval()):
		}
	}
}
