package federation

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// reservePatience is how long a reservation waits for others to be over.
const reservePatience = 20 * time.Second

// serveWants gets global ports for the instances that want one.
func (f *Federation) serveWants(ctx context.Context) {
	var wants []Want
	f.engine.View(func() {
		for w := range f.store.wants.All() {
			if w.Value.Refusal == "" {
				wants = append(wants, w.Value)
			}
		}
	})
	for _, w := range wants {
		if _, err := f.reserve(ctx, w.Instance); err != nil && ctx.Err() == nil {
			f.refuseWant(ctx, w, err)
		}
	}
}

// reserve returns the global port of an instance, a new one if it has none.
// While another transaction is under way it waits, for as long as that may take.
// Sites that want ports at once refuse each other: each waits another while, so
// that one of them is first.
func (f *Federation) reserve(ctx context.Context, instance string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, reservePatience)
	defer cancel()
	for failures := 0; ; failures++ {
		port, err := f.portOf(ctx, instance)
		if port != 0 || err != nil {
			return port, err
		}
		err = f.propose(ctx, Proposal{Kind: Reserve, Instance: instance}, "")
		if err == nil {
			continue
		}
		if code := codeOf(err); code != Busy && code != Behind {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(rand.N(retryPause << min(failures, 3))):
		}
	}
}

// portOf returns the global port of an instance, 0 if it has none. What wanted
// it is done with.
func (f *Federation) portOf(ctx context.Context, instance string) (int, error) {
	port := 0
	if err := f.store.read(ctx, func(s *Site) { port, _ = s.gipOf(instance) }); err != nil || port == 0 {
		return 0, err
	}
	return port, f.engine.Do(ctx, state.Group{Name: "want is served", Apply: func(tx *state.Tx) error {
		tx.Delete(state.FederationWantKey(instance))
		return nil
	}})
}

// refuseWant tells whoever wanted a global port that there is none. Of what may
// pass, the want is served again.
func (f *Federation) refuseWant(ctx context.Context, w Want, why error) {
	f.log.WarnContext(ctx, "no global port", "instance", w.Instance, "err", why)
	w.Refusal, w.Code = why.Error(), codeOf(why)
	err := f.engine.Do(ctx, state.Group{Name: "refuse a global port", Apply: func(tx *state.Tx) error {
		if _, wanted := tx.Get(state.FederationWantKey(w.Instance)); !wanted {
			return state.ErrSkip
		}
		tx.PutJSON(state.FederationWantKey(w.Instance), w)
		return nil
	}})
	f.try(ctx, "refusing a global port", err)
}

// forsaken returns the instances of this site that have a global port and do
// not exist, nor did for a while: the ports are to be given back.
func (f *Federation) forsaken(s *Site) []string {
	var out []string
	seen := map[string]time.Time{}
	for _, g := range s.gips.all() {
		if g.Home != s.self.DC || s.exists(g.Instance) || s.State() != Member {
			continue
		}
		since, ok := f.unused[g.Instance]
		if !ok {
			since = s.now
		}
		seen[g.Instance] = since
		if s.now.Sub(since) >= f.cfg.Grace {
			out = append(out, g.Instance)
		}
	}
	f.unused = seen
	return out
}
