package federation

import (
	"context"
	"math/rand/v2"
	"time"
)

// chores are what a site has to see to by itself.
type chores struct {
	// mail is what the outbox holds, and doubts are questions about what the site
	// has agreed to.
	mail, doubts []Request
	// strays are members that went elsewhere before they were told.
	strays []Peer
	// forsaken are instances that have a global port and do not exist.
	forsaken []string
	// greeting asks some other member for news.
	greeting *Request
	leaving  bool
}

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
	f.rounds(ctx, f.wake, func() {
		if !f.elected.Load() {
			f.peers.silence.forget()
			return
		}
		f.serveWants(ctx)
		f.work(ctx, f.chores(ctx))
	})
	return nil
}

// rounds calls do every Interval, and when there is news, until ctx ends.
func (f *Federation) rounds(ctx context.Context, news <-chan struct{}, do func()) {
	tick := time.NewTicker(f.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-news:
		}
		do()
	}
}

// poke has the next receive from news return. It waits for nobody: news holds one.
func poke(news chan struct{}) {
	select {
	case news <- struct{}{}:
	default:
	}
}

// chores reads what there is to do. A failure is logged, and there is another
// time.
func (f *Federation) chores(ctx context.Context) chores {
	var c chores
	err := f.store.read(ctx, func(s *Site) {
		c = chores{mail: s.Mail(), doubts: s.Doubts(), strays: s.Strays(), leaving: s.self.State == Leaving, forsaken: f.forsaken(s)}
		others := s.self.others(s.self.DC)
		if s.isMember() == nil && len(others) > 0 && s.now.Sub(f.greeted) >= f.cfg.Greeting {
			greeting := s.Greeting(others[rand.IntN(len(others))])
			c.greeting = &greeting
		}
	})
	if err != nil && ctx.Err() == nil {
		f.log.WarnContext(ctx, "reading the site's records, will retry", "err", err)
	}
	return c
}

// work does the chores. What fails is there again the next time.
func (f *Federation) work(ctx context.Context, c chores) {
	f.deliver(ctx, c.mail)
	for _, req := range c.doubts {
		f.exchange(ctx, req, (*Site).Resolved)
	}
	if len(c.strays) > 0 {
		f.try(ctx, "evicting sites that went elsewhere", f.propose(ctx, Proposal{Kind: Evict, Peers: c.strays}, ""))
	}
	if c.leaving {
		f.try(ctx, "giving up the federation's records", f.store.do(ctx, "retire", func(s *Site) error { return s.Retire(f.store.fresh()) }))
	}
	for _, instance := range c.forsaken {
		f.try(ctx, "giving a global port back", f.propose(ctx, Proposal{Kind: Release, Instance: instance}, ""), "instance", instance)
	}
	if c.greeting != nil {
		f.exchange(ctx, *c.greeting, (*Site).Greeted)
		f.greeted = time.Now()
	}
}

// try logs what did not work this time.
func (f *Federation) try(ctx context.Context, doing string, err error, attrs ...any) {
	if err != nil && ctx.Err() == nil {
		f.troubles.add()
		f.log.WarnContext(ctx, doing+", will retry", append(attrs, "err", err)...)
	}
}

// deliver sends what the outbox holds.
func (f *Federation) deliver(ctx context.Context, mail []Request) {
	for _, req := range mail {
		f.exchange(ctx, req, (*Site).Delivered)
		f.cfg.at("told " + req.To.DC)
	}
}

// exchange sends a request and has the answer taken in.
func (f *Federation) exchange(ctx context.Context, req Request, take func(*Site, Request, Reply, error) error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Patience)
	defer cancel()
	reply, failure := f.peers.send(ctx, req, "")
	if failure != nil {
		f.troubles.add()
		f.log.DebugContext(ctx, "request not done, will retry", "verb", string(req.Verb), "to", req.To.DC, "err", failure)
	}
	err := f.store.do(context.WithoutCancel(ctx), "answer to "+string(req.Verb), func(s *Site) error { return take(s, req, reply, failure) })
	f.try(ctx, "taking in an answer", err, "from", req.To.DC)
	if reply.Again {
		f.hurry()
	}
}
