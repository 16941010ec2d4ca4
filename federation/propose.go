package federation

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/pgpatron/pgpatron/state"
)

// retryPause is how long the coordinator waits before it asks a silent site again.
const retryPause = 200 * time.Millisecond

// propose takes a proposal through a whole round, and returns when it is
// decided or refused. token is shown to a candidate.
func (f *Federation) propose(ctx context.Context, p Proposal, token state.Secret) error {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Lease)
	defer cancel()
	var round *Round
	err := f.store.do(ctx, "begin", func(s *Site) (err error) {
		round, err = s.Begin(uuid.NewString(), p)
		return err
	})
	if err != nil {
		return err
	}
	f.cfg.at("begun")
	f.gather(ctx, round, token)
	err = round.Err()
	if round.Ready() {
		f.cfg.at("agreed")
		err = f.store.do(ctx, "decide", func(s *Site) error { return s.Decide(round) })
	}
	if err != nil {
		err = f.abandon(ctx, round, err)
	}
	if err != nil {
		f.log.InfoContext(ctx, "not decided", "what", round.describe(), "tx", round.tx, "err", err)
		return err
	}
	f.log.InfoContext(ctx, "decided", "what", round.describe(), "tx", round.tx)
	f.cfg.at("decided")
	f.announce(ctx)
	return nil
}

// announce tells the others at once, so that whoever asked for the decision can
// rest on it. Those who do not answer are told later.
func (f *Federation) announce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.cfg.Patience)
	defer cancel()
	f.deliver(ctx, f.mail(ctx))
	f.hurry()
}

// mail reads what the outbox holds.
func (f *Federation) mail(ctx context.Context) []Request {
	var mail []Request
	f.try(ctx, "reading the outbox", f.store.read(ctx, func(s *Site) { mail = s.Mail() }))
	return mail
}

// gather asks everybody until all have agreed, or one has not.
func (f *Federation) gather(ctx context.Context, round *Round, token state.Secret) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Lease*2/3)
	defer cancel()
	for !round.Ready() && round.Err() == nil {
		if ctx.Err() != nil {
			round.GiveUp()
			return
		}
		f.ask(ctx, round, round.Requests(), token)
	}
}

// ask sends requests at once, and gives the answers to the round.
func (f *Federation) ask(ctx context.Context, round *Round, reqs []Request, token state.Secret) {
	answers := make([]func(), len(reqs))
	var all sync.WaitGroup
	for i, req := range reqs {
		all.Go(func() {
			reply, err := f.persist(ctx, req, token)
			answers[i] = func() { round.Answer(req.To.DC, reply, err) }
		})
	}
	all.Wait()
	for i, answer := range answers {
		answer()
		f.cfg.at("asked " + reqs[i].To.DC)
	}
}

// persist sends a request until the site answers, or has been silent for too
// long.
func (f *Federation) persist(ctx context.Context, req Request, token state.Secret) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Patience)
	defer cancel()
	for {
		reply, err := f.peers.send(ctx, req, token)
		if err == nil || codeOf(err) != Silent {
			return reply, err
		}
		select {
		case <-ctx.Done():
			return reply, err
		case <-time.After(retryPause):
		}
	}
}

// abandon gives a round up and tells everybody, once. Who does not hear it
// comes back by itself when the lease ends. It returns why the round failed, or
// nil if it turns out to have been decided. Nobody is told anything as long as
// that is not certain.
func (f *Federation) abandon(ctx context.Context, round *Round, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.cfg.Patience)
	defer cancel()
	err := f.store.do(ctx, "abandon", func(s *Site) error { return s.Abandon(round) })
	if errors.Is(err, ErrDecided) {
		return nil
	}
	if err != nil {
		f.log.WarnContext(ctx, "ending a review, it ends by itself", "tx", round.tx, "err", err)
		return why
	}
	var all sync.WaitGroup
	for _, req := range round.Aborts() {
		all.Go(func() {
			// Silence costs the others the rest of the lease.
			_, _ = f.peers.send(ctx, req, "")
		})
	}
	all.Wait()
	return why
}
