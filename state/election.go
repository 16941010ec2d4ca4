package state

import (
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrDeposed says that a group was guarded by an office that the engine does
// not hold, or no longer.
var ErrDeposed = errors.New("not the elected one")

// Election elects one engine of many to an office. The office is a key under
// the holder's session: it falls free when the holder ends or goes silent.
type Election struct {
	name  string
	table *Table[string]
}

// NewElection adds an election to the schema. Every engine that takes part
// names it alike and has a session.
func NewElection(s *Schema, name string) *Election {
	return &Election{name: name, table: Register(s, ElectionPattern, Text)}
}

// Holds reports whether the engine of this Tick holds the office.
func (el *Election) Holds(t Tick) bool {
	held, ok := el.table.Get(el.name)
	return ok && t.Lease != clientv3.NoLease && held.Lease == t.Lease
}

// Changed reports whether the office was taken or fell free since the last Tick.
func (el *Election) Changed() bool {
	for params := range el.table.Changed() {
		if params[0] == el.name {
			return true
		}
	}
	return false
}

// Campaign returns the group that takes the office, if it is free. self is
// written into it for people to read.
func (el *Election) Campaign(t Tick, self string) []Group {
	if _, taken := el.table.Get(el.name); taken || t.Lease == clientv3.NoLease {
		return nil
	}
	return []Group{{Name: "campaign for " + el.name, Apply: func(tx *Tx) error {
		if _, taken := tx.Get(ElectionKey(el.name)); taken {
			return ErrSkip
		}
		tx.PutLeased(ElectionKey(el.name), []byte(self))
		return nil
	}}}
}

// Resign returns the group that gives the office up, if the engine holds it.
func (el *Election) Resign(t Tick) []Group {
	if !el.Holds(t) {
		return nil
	}
	return []Group{{Name: "resign from " + el.name, Apply: func(tx *Tx) error {
		if err := el.Guard(tx); err != nil {
			return errors.Join(ErrSkip, err)
		}
		tx.Delete(ElectionKey(el.name))
		return nil
	}}}
}

// Guard makes a group depend on the office: it is committed only while the
// engine holds it. A deposed holder's commit fails.
func (el *Election) Guard(tx *Tx) error {
	held, ok := tx.Get(ElectionKey(el.name))
	if !ok || tx.Lease() == clientv3.NoLease || held.Lease != tx.Lease() {
		return fmt.Errorf("office %s: %w", el.name, ErrDeposed)
	}
	return nil
}
