package broker

import (
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/pivotal-cf/brokerapi/v10/domain"

	"github.com/pgpatron/pgpatron/state"
)

// replacer rebuilds elsewhere the nodes of backends that have been silent for so
// long that they will hardly come back. It does what a user's move_off does: the
// new node has all data before the old one is taken out of the cluster, and the
// old one stays in the record until its host has removed it, should that return.
// A node is replaced only while another one leads: the last copy is never given up.
type replacer struct {
	tables   *tables
	election *state.Election
	// understand works out an update, as for a request.
	understand func(tx *state.Tx, u *update, id string, details domain.UpdateDetails) error
	// after is how long a backend may be silent. 0: for ever.
	after time.Duration
	log   *slog.Logger

	looked time.Time
	// silent tells since when this broker has missed a backend that has nodes: by its
	// own clock, and anew when it is elected, so that no clock but one counts.
	silent map[string]time.Time
	// tried tells when an instance's replacement was begun or refused last, as long
	// as that keeps it from being tried again.
	tried map[string]time.Time
}

// forget begins anew, as a broker does that was not elected before.
func (r *replacer) forget() { r.silent, r.tried = map[string]time.Time{}, map[string]time.Time{} }

// waiting reports whether a backend is silent, so that time matters.
func (r *replacer) waiting() bool { return r.after > 0 && len(r.silent) > 0 }

// drive begins the replacements whose time has come, a few at a time.
func (r *replacer) drive() []state.Group {
	if r.after == 0 || time.Since(r.looked) < drainInterval && !r.changed() {
		return nil
	}
	r.looked = time.Now()
	r.listen()
	maps.DeleteFunc(r.tried, func(_ string, at time.Time) bool { return time.Since(at) >= r.after })
	var groups []state.Group
	for backend, since := range r.silent {
		if time.Since(since) >= r.after {
			groups = append(groups, r.replace(backend)...)
		}
	}
	return groups
}

// changed reports whether a backend came or went since the last Tick.
func (r *replacer) changed() bool {
	for range r.tables.backends.Changed() {
		return true
	}
	return false
}

// listen notes which backends with nodes are silent.
func (r *replacer) listen() {
	loads := r.tables.loads.counts()
	for backend := range loads {
		_, registered := r.tables.backends.Get(backend)
		_, known := r.silent[backend]
		switch {
		case registered:
			delete(r.silent, backend)
		case !known:
			r.silent[backend] = time.Now()
		}
	}
	for backend := range r.silent {
		if loads[backend] == 0 {
			delete(r.silent, backend)
		}
	}
}

// replace moves instances off a backend, as many at a time as a drain does.
func (r *replacer) replace(backend string) []state.Group {
	var groups []state.Group
	room := drainsAtOnce - r.busy(backend)
	for c := range r.tables.clusters.All() {
		id := c.Value.InstanceID
		if room <= len(groups) {
			break
		}
		if _, lately := r.tried[id]; !lately && r.replaceable(c.Value, backend) {
			r.tried[id] = time.Now()
			groups = append(groups, r.move(id, backend))
		}
	}
	return groups
}

// busy counts the instances with nodes on a backend that something is done to.
func (r *replacer) busy(backend string) int {
	n := 0
	for c := range r.tables.clusters.All() {
		in, _ := r.tables.instances.Get(c.Value.InstanceID)
		if hasNodeOn(c.Value, backend) && in.Value.Operation.Running() {
			n++
		}
	}
	return n
}

// replaceable reports whether an instance has a node on a backend that can be
// spared: another one leads, on a host that is there.
func (r *replacer) replaceable(c state.Cluster, backend string) bool {
	in, made := r.tables.instances.Get(c.InstanceID)
	if !made || in.Value.Operation.Running() || !hasNodeOn(c, backend) {
		return false
	}
	leader, _ := r.tables.leaders.Get(c.InstanceID)
	n, led := c.Node(leader.Value)
	_, registered := r.tables.backends.Get(n.BackendID)
	return led && registered
}

// hasNodeOn reports whether a cluster has a node on a backend that is not to be
// removed.
func hasNodeOn(c state.Cluster, backend string) bool {
	return slices.ContainsFunc(c.Nodes, func(n state.Node) bool { return n.BackendID == backend && !n.Removed })
}

// move begins the update that moves an instance off a backend.
func (r *replacer) move(id, backend string) state.Group {
	return state.Group{Name: "replace the node on " + backend, Apply: func(tx *state.Tx) error {
		if err := r.election.Guard(tx); err != nil {
			return errors.Join(state.ErrSkip, err)
		}
		in, exists, err := state.Load(tx, state.InstanceKey(id), state.JSON[state.Instance])
		if err != nil || !exists || in.Operation.Running() {
			return errors.Join(state.ErrSkip, err)
		}
		if _, back := tx.Get(state.BackendKey(backend)); back {
			return state.ErrSkip
		}
		request, err := json.Marshal(map[string]string{"move_off": backend})
		if err != nil {
			return err
		}
		u := &update{}
		if err := r.understand(tx, u, id, domain.UpdateDetails{ServiceID: in.ServiceID, RawParameters: request}); err != nil {
			r.log.Warn("a node on a silent backend can not be replaced, will retry", "instance", id, "backend", backend, "err", err)
			return state.ErrSkip
		}
		if len(u.steps) == 0 {
			return state.ErrSkip
		}
		u.begin()
		tx.PutJSON(state.InstanceKey(id), u.in)
		r.log.Warn("a backend is silent, replacing its node", "instance", id, "backend", backend)
		return nil
	}}
}
