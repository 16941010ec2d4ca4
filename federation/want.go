package federation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// Want asks the site's federation process for a global port for an instance.
type Want struct {
	Instance string `json:"instance_id"`
	// Refusal is why there is none.
	Refusal string `json:"refusal,omitempty"`
	Code    Code   `json:"code,omitempty"`
}

// GlobalPorts is what a broker needs to know of a federation. It speaks with
// the federation process through etcd alone.
type GlobalPorts struct {
	// Timeout bounds the wait for a port. Default 20 s.
	Timeout time.Duration

	wants *state.Table[Want]
	gips  *state.Table[GIP]
}

// Watch adds what the other methods read to the broker's picture.
func (g *GlobalPorts) Watch(s *state.Schema) {
	s.Watch(state.FederationPrefix)
	g.wants = state.Register(s, state.FederationWantPattern, state.JSON[Want])
	g.gips = state.Register(s, state.FederationGIPPattern, state.JSON[GIP])
}

// Permit returns why no port may be given or taken now, nil if it may. The
// caller's transaction holds only as long as that is so.
func (g *GlobalPorts) Permit(tx *state.Tx) error {
	self, known, err := state.Load(tx, state.FederationSelfKey(), state.JSON[Self])
	if err != nil {
		return err
	}
	overlay, reviewed, err := state.Load(tx, state.FederationOverlayKey(), state.JSON[Overlay])
	switch {
	case err != nil || !known:
		return err
	case !reviewed:
		return permit(self, nil, time.Now())
	}
	return permit(self, &overlay, time.Now())
}

// Reserve returns the global port of an instance, once every site of the
// federation has agreed to it. It is the instance's allocation from then on; if
// no instance comes of it, the federation takes it back after a while.
func (g *GlobalPorts) Reserve(ctx context.Context, e *state.Engine, id string) (int, error) {
	timeout := g.Timeout
	if timeout == 0 {
		timeout = 20 * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, refuse(Silent, "no global port in %v: see pgpatron dc status", timeout))
	defer cancel()
	if err := e.Do(ctx, state.Group{Name: "want a global port", Apply: g.want(id)}); err != nil {
		return 0, err
	}
	var port int
	var failure error
	err := e.Await(ctx, func() bool {
		port, failure = g.found(id)
		return port != 0 || failure != nil
	})
	if failure != nil {
		// If it stays, it is written anew with the next request.
		_ = e.Do(ctx, state.Group{Name: "want was refused", Apply: func(tx *state.Tx) error {
			tx.Delete(state.FederationWantKey(id))
			return nil
		}})
	}
	return port, errors.Join(err, failure)
}

// want writes the want anew, unless the instance has a port.
func (g *GlobalPorts) want(id string) func(tx *state.Tx) error {
	return func(tx *state.Tx) error {
		self, _, err := state.Load(tx, state.FederationSelfKey(), state.JSON[Self])
		if err != nil {
			return err
		}
		if self.State != Member {
			return refuse(Unable, "global ports need a federation: this site is %s", standaloneIfNone(self.State))
		}
		if port, _ := g.found(id); port == 0 {
			tx.PutJSON(state.FederationWantKey(id), Want{Instance: id})
		}
		return nil
	}
}

// Home returns the site that is the home of an instance's global port, empty if
// it has none.
func (g *GlobalPorts) Home(id string) string {
	for e := range g.gips.All() {
		if e.Value.Instance == id {
			return e.Value.Home
		}
	}
	return ""
}

// HomeNow is Home, and the caller's transaction holds only as long as it is so.
func (g *GlobalPorts) HomeNow(tx *state.Tx, id string) (string, error) {
	for e := range g.gips.All() {
		if e.Value.Instance == id {
			gip, _, err := state.Load(tx, state.FederationGIPKey(epochOf(e.Params)), state.JSON[GIP])
			return gip.Home, err
		}
	}
	return "", nil
}

// CanMove returns the name of this site, or why an instance of it can not move
// to another.
func (g *GlobalPorts) CanMove(tx *state.Tx, id, to string) (string, error) {
	self, _, err := state.Load(tx, state.FederationSelfKey(), state.JSON[Self])
	if err != nil {
		return "", err
	}
	home, err := g.HomeNow(tx, id)
	if err != nil {
		return "", err
	}
	_, member := self.member(to)
	switch {
	case self.Evicted > 0:
		return "", refuse(Unable, "%s was evicted at epoch %d: it is frozen until dc reset", self.DC, self.Evicted)
	case self.State != Member:
		return "", refuse(Unable, "moving needs a federation: this site is %s", standaloneIfNone(self.State))
	case to == self.DC:
		return "", refuse(Unable, "%s is this datacenter", to)
	case !member:
		return "", refuse(Unable, "%s is not a member of federation %s", to, self.Federation)
	case home == "":
		return "", refuse(Unable, "instance %s has no global port: only an instance with one can move", id)
	case home != self.DC:
		return "", refuse(Unable, "instance %s is at %s: ask there", id, home)
	}
	return self.DC, nil
}

func standaloneIfNone(s State) State {
	if s == "" {
		return Standalone
	}
	return s
}

// found returns the instance's port, or why it got none.
func (g *GlobalPorts) found(id string) (int, error) {
	for e := range g.gips.All() {
		if e.Value.Instance == id {
			return epochOf(e.Params), nil
		}
	}
	if w, ok := g.wants.Get(id); ok && w.Value.Refusal != "" {
		return 0, &Refusal{Code: w.Value.Code, Text: fmt.Sprintf("no global port: %s", w.Value.Refusal)}
	}
	return 0, nil
}
