package broker

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/broker/osb"
	"github.com/pgpatron/pgpatron/state"
)

// GlobalPorts is what a federation of sites has to say about public ports. Its
// errors are for the user to read.
type GlobalPorts interface {
	// Watch adds to the broker's picture what the other methods read.
	Watch(*state.Schema)
	// Permit returns why no port may change hands now. What the caller's
	// transaction does holds only as long as it may.
	Permit(tx *state.Tx) error
	// Reserve returns the port that all sites have agreed on for an instance. It is
	// the instance's allocation from then on.
	Reserve(ctx context.Context, e *state.Engine, id string) (int, error)
	// CanMove returns the name of this site, or why an instance of it can not move
	// to another.
	CanMove(tx *state.Tx, id, site string) (string, error)
	// Home returns the site that is the home of an instance's global port. What the
	// caller's transaction does by HomeNow holds only as long as that is so.
	Home(id string) string
	HomeNow(tx *state.Tx, id string) (string, error)
}

// portPatience is how long a request waits for a review of the federation's to
// pass. Most take less than a second.
const portPatience = 3 * time.Second

// wantsGlobal reports whether a new instance is to have a global port.
func (b *Broker) wantsGlobal(params catalog.Parameters) bool {
	if params.Global != nil {
		return *params.Global
	}
	return b.cfg.GlobalByDefault
}

// preparePort sees to the port of an instance that is not recorded yet: a
// global one is reserved, and for a local one a review is given time to pass.
func (b *Broker) preparePort(ctx context.Context, id string, global bool) error {
	if b.cfg.GlobalPorts == nil {
		if global {
			return portRefusal(errors.New("global ports need a federation: this site has none"))
		}
		return nil
	}
	exists := false
	err := b.decide(ctx, "look for the instance", func(tx *state.Tx) error {
		_, exists = tx.Get(state.InstanceKey(id))
		return nil
	})
	if err != nil || exists {
		return err
	}
	if !global {
		return b.awaitPermit(ctx)
	}
	if _, err = b.cfg.GlobalPorts.Reserve(ctx, b.engine, id); err != nil {
		return portRefusal(err)
	}
	return nil
}

// awaitPermit waits until ports may change, or long enough: the request itself
// is refused then.
func (b *Broker) awaitPermit(ctx context.Context) error {
	deadline := time.Now().Add(portPatience)
	for {
		var refusal error
		err := b.decide(ctx, "ask whether ports may change", func(tx *state.Tx) error {
			refusal = b.cfg.GlobalPorts.Permit(tx)
			return nil
		})
		if err != nil || refusal == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// choosePort gives the cluster its port, inside the caller's group.
func (b *Broker) choosePort(tx *state.Tx, cluster *state.Cluster) error {
	if b.cfg.GlobalPorts != nil && !cluster.Global {
		if err := b.cfg.GlobalPorts.Permit(tx); err != nil {
			return portRefusal(err)
		}
	}
	if _, reserved := tx.Get(state.AllocationKey(cluster.InstanceID)); cluster.Global && !reserved {
		return portRefusal(errors.New("the global port was given back meanwhile: ask again"))
	}
	port, err := b.cfg.Ports.Allocate(tx, cluster.InstanceID)
	cluster.AllocatedPort = port
	return err
}

// portRefusal hands on what the federation says. Nobody knows whether a request
// that ran out of time would have been refused.
func portRefusal(err error) error {
	if errors.Is(err, state.ErrStopped) || errors.Is(err, context.Canceled) {
		return err
	}
	return osb.Answer(http.StatusConflict, "", "%s", err.Error())
}
