package state

import "go.etcd.io/etcd/api/v3/mvccpb"

// Simulation is a picture that no etcd is behind: what an engine does with
// news, and nothing else.
type Simulation struct{ store *store }

// NewSimulation returns an empty picture, as an observer keeps it.
func NewSimulation(s *Schema) *Simulation {
	return &Simulation{newStore(s, true, func(key string, err error) { panic(key + ": " + err.Error()) })}
}

// Put takes in one write.
func (s *Simulation) Put(key, value string) {
	s.store.revision++
	s.store.put(&mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), ModRevision: s.store.revision, CreateRevision: 1})
}

// Revision is that of the last write.
func (s *Simulation) Revision() int64 { return s.store.revision }

// Settle ends a Tick.
func (s *Simulation) Settle() { s.store.each(table.settle) }
