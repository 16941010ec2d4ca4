package federation

import (
	"context"
	"math/rand/v2"
	"time"
)

// tend looks after what is under way, while this process is the elected one,
// until ctx ends.
func (f *Federation) tend(ctx context.Context) error {
	select {
	case <-f.engine.Ready():
	case <-ctx.Done():
		return nil
	}
	if err := f.introduce(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	tick := time.NewTicker(f.cfg.Interval)
	defer tick.Stop()
	var greeted time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-f.wake:
		}
		if !f.elected.Load() {
			continue
		}
		f.deliver(ctx)
		f.resolve(ctx)
		f.evictStrays(ctx)
		f.retire(ctx)
		f.serveWants(ctx)
		f.giveBack(ctx)
		if time.Since(greeted) >= f.cfg.Greeting {
			f.greet(ctx)
			greeted = time.Now()
		}
	}
}

// look reads the site's records; a failure is logged, and there is another time.
func (f *Federation) look(ctx context.Context, look func(*Site)) {
	if err := f.store.read(ctx, look); err != nil && ctx.Err() == nil {
		f.log.WarnContext(ctx, "reading the site's records, will retry", "err", err)
	}
}

// exchange sends a request and has the answer taken in.
func (f *Federation) exchange(ctx context.Context, req Request, take func(*Site, Request, Reply, error) error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Patience)
	defer cancel()
	reply, failure := f.peers.send(ctx, req, "")
	if failure != nil {
		f.log.DebugContext(ctx, "request not done, will retry", "verb", string(req.Verb), "to", req.To.DC, "err", failure)
	}
	err := f.store.do(context.WithoutCancel(ctx), "answer to "+string(req.Verb), func(s *Site) error { return take(s, req, reply, failure) })
	if err != nil {
		f.log.WarnContext(ctx, "taking in an answer, will retry", "verb", string(req.Verb), "from", req.To.DC, "err", err)
	}
	if reply.Again {
		f.hurry()
	}
}

// deliver sends what the outbox holds.
func (f *Federation) deliver(ctx context.Context) {
	var mail []Request
	f.look(ctx, func(s *Site) { mail = s.Mail() })
	for _, req := range mail {
		f.exchange(ctx, req, (*Site).Delivered)
		f.cfg.at("told " + req.To.DC)
	}
}

// resolve asks what became of the transactions that this site has agreed to.
func (f *Federation) resolve(ctx context.Context) {
	var doubts []Request
	f.look(ctx, func(s *Site) { doubts = s.Doubts() })
	for _, req := range doubts {
		f.exchange(ctx, req, (*Site).Resolved)
	}
}

// evictStrays takes candidates out again that went elsewhere.
func (f *Federation) evictStrays(ctx context.Context) {
	var strays []Peer
	f.look(ctx, func(s *Site) { strays = s.Strays() })
	if len(strays) == 0 {
		return
	}
	if err := f.propose(ctx, Proposal{Kind: Evict, Peers: strays}, ""); err != nil && ctx.Err() == nil {
		f.log.WarnContext(ctx, "evicting sites that went elsewhere, will retry", "err", err)
	}
}

// retire ends the leaving of a site.
func (f *Federation) retire(ctx context.Context) {
	leaving := false
	f.look(ctx, func(s *Site) { leaving = s.self.State == Leaving })
	if !leaving {
		return
	}
	if err := f.store.do(ctx, "retire", func(s *Site) error { return s.Retire(f.store.fresh()) }); err != nil && ctx.Err() == nil {
		f.log.WarnContext(ctx, "giving up the federation's records, will retry", "err", err)
	}
}

// greet asks some other member for news.
func (f *Federation) greet(ctx context.Context) {
	var req *Request
	f.look(ctx, func(s *Site) {
		others := s.self.others(s.self.DC)
		if s.isMember() == nil && len(others) > 0 {
			g := s.Greeting(others[rand.IntN(len(others))])
			req = &g
		}
	})
	if req != nil {
		f.exchange(ctx, *req, (*Site).Greeted)
	}
}
