package router

import (
	"context"
	"log/slog"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// registration is the reactor that tells etcd of this router, all of it under its
// session: that it runs, and which ports it can not open. It has an engine of its
// own: steering waits for no commit.
type registration struct {
	name     string
	key      string
	routers  *state.Routers
	unbound  *state.Table[string]
	failures *failures
	breaker  *breaker
	log      *slog.Logger

	// value is the last one seen of our key: an operator may have written it, and
	// it comes back when the key was lost with a session. seen is whether there was
	// one.
	value string
	seen  bool
	// under is the lease under which our key has been seen.
	under clientv3.LeaseID
	// contested is whether another process is known to hold our key.
	contested bool
	// told are our reports of ports as etcd has them.
	told map[int]state.Entry[string]
}

func routerName(cfg Config) string { return cfg.IP.Unmap().String() + "@-@" + strconv.Itoa(cfg.PID) }

func routerKey(cfg Config) string { return state.RouterKey(cfg.IP.Unmap().String(), cfg.PID) }

func newRegistration(schema *state.Schema, cfg Config, p *plane, log *slog.Logger) *registration {
	return &registration{
		name:     routerName(cfg),
		key:      routerKey(cfg),
		routers:  state.NewRouters(schema),
		unbound:  state.Register(schema, state.UnboundPattern, state.Text),
		failures: &p.failures,
		breaker:  p.breaker,
		log:      log,
		told:     map[int]state.Entry[string]{},
	}
}

// Tick returns what makes etcd say the truth of this router.
func (r *registration) Tick(_ context.Context, t state.Tick) ([]state.Group, error) {
	r.note()
	groups := r.routers.Sweep(r.name) // the dead are told of once, whether or not there is a session
	if t.Lease == clientv3.NoLease {
		return groups, nil
	}
	groups = append(groups, r.report(t.Lease)...)
	if r.lost(t.Lease) || !r.routers.Registered(r.name) {
		groups = append(groups, r.register())
	}
	return groups, nil
}

// note takes in what changed of our own keys.
func (r *registration) note() {
	if entry, ok := r.routers.Switches.Last(r.name); ok {
		r.value, r.seen = entry.Value, true
	}
	for params := range r.unbound.Changed() {
		port, err := strconv.Atoi(params[0])
		if err != nil || params[1] != r.name {
			continue
		}
		if entry, ok := r.unbound.Get(params...); ok {
			r.told[port] = entry
		} else {
			delete(r.told, port)
		}
	}
}

// lost reports whether our key has to be put. A plain put by an operator has
// taken the lease off. A key under somebody else's lease is taken once in a
// session: it is what an earlier process of our name left. If it is taken from
// us again, that process lives, and fighting it would never end.
func (r *registration) lost(lease clientv3.LeaseID) bool {
	entry, ok := r.routers.Switches.Get(r.name)
	switch {
	case !ok || entry.Lease == clientv3.NoLease:
		return true
	case entry.Lease == lease:
		r.under, r.contested = lease, false
		return false
	case r.under == lease:
		if !r.contested {
			r.contested = true
			r.log.Error("another router runs under this router's name: give each its own ip", "key", r.key)
		}
		return false
	}
	return true
}

// register puts our keys under our session and keeps our key's value.
func (r *registration) register() state.Group {
	return state.Group{Name: "register router", Apply: func(tx *state.Tx) error {
		tx.PutLeased(r.key, []byte(r.kept(tx)))
		tx.PutLeased(state.RouterSessionKey(r.name), nil)
		tx.Put(state.RouterRecordKey(r.name), nil)
		return nil
	}}
}

// kept is what our key holds, or held when it was last there. The picture may be
// newer than the Tick. A router that was started without etcd knows from disk
// whether its circuit is broken.
func (r *registration) kept(tx *state.Tx) string {
	if kv, ok := tx.Get(r.key); ok {
		return string(kv.Value)
	}
	entry, ok := r.routers.Switches.Last(r.name)
	switch {
	case ok:
		return entry.Value
	case !r.seen && r.breaker.isOn():
		return state.Disabled
	}
	return r.value
}

// report tells of the ports that can not be opened, and takes back what is no
// longer so.
func (r *registration) report(lease clientv3.LeaseID) []state.Group {
	var groups []state.Group
	reasons := r.failures.load()
	for port, reason := range reasons {
		if told, ok := r.told[port]; ok && told.Value == reason && told.Lease == lease {
			continue
		}
		groups = append(groups, state.Group{Name: "report port " + strconv.Itoa(port), Apply: func(tx *state.Tx) error {
			tx.PutLeased(state.UnboundKey(port, r.name), []byte(reason))
			return nil
		}})
	}
	for port := range r.told {
		if _, ok := reasons[port]; ok {
			continue
		}
		groups = append(groups, state.Group{Name: "take back port " + strconv.Itoa(port), Apply: func(tx *state.Tx) error {
			tx.Delete(state.UnboundKey(port, r.name))
			return nil
		}})
	}
	return groups
}
