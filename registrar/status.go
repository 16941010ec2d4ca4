package registrar

import (
	"encoding/json"
	"fmt"

	"github.com/pgpatron/pgpatron/state"
)

// publish returns what makes the status keys of this backend exactly those of
// the nodes that records place here.
func (r *Registrar) publish(t state.Tick, docker snapshot) []state.Group {
	var groups []state.Group
	reports := r.crew.reports()
	warning := r.warning()
	for node, g := range r.desired.nodes {
		rep := reports[node]
		if rep.phase == "" {
			continue // its worker has not looked yet
		}
		wanted := state.NodeStatus{
			ID: node, InstanceID: g.instance, BackendID: r.backend, Phase: rep.phase, Spec: docker.specs[node], Details: rep.details, Warning: warning,
		}
		if have, ok := r.tables.statuses.Get(node); !ok || have.Value != wanted || have.Lease != t.Lease {
			groups = append(groups, putStatus(wanted))
		}
	}
	for node := range r.told {
		if _, ok := r.desired.nodes[node]; !ok {
			groups = append(groups, dropStatus(node))
		}
	}
	return groups
}

// warning tells of a disk that fills up, which every node here stands on.
func (r *Registrar) warning() string {
	now := r.condition()
	percent := now.of(state.Backend{}).DiskPercent()
	switch {
	case now.full:
		return fmt.Sprintf("disk of %s is %d %% full: read-only until there is room", r.cfg.Hostname, percent)
	case percent >= r.cfg.DiskWarn:
		return fmt.Sprintf("disk of %s is %d %% full", r.cfg.Hostname, percent)
	}
	return ""
}

func putStatus(s state.NodeStatus) state.Group {
	return state.Group{Name: "status of " + s.ID, Apply: func(tx *state.Tx) error {
		return putLeasedJSON(tx, state.NodeStatusKey(s.ID), s)
	}}
}

func dropStatus(node string) state.Group {
	return state.Group{Name: "no status of " + node, Apply: func(tx *state.Tx) error {
		tx.Delete(state.NodeStatusKey(node))
		return nil
	}}
}

// putLeasedJSON writes v as JSON under the engine's session.
func putLeasedJSON(tx *state.Tx, key string, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", key, err)
	}
	tx.PutLeased(key, value)
	return nil
}
