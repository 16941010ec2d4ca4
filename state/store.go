package state

import (
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// KV is one key's value as etcd has it. A KV that does not exist is the zero
// KV: ModRevision 0 is etcd's own sign for it.
type KV struct {
	Value          []byte
	ModRevision    int64
	CreateRevision int64
	Lease          clientv3.LeaseID
}

// store is the engine's picture of the watched prefixes: etcd's contents at
// exactly one revision. The engine's loop alone changes it.
type store struct {
	schema   *Schema
	prefixes []string
	kvs      map[string]KV
	revision int64
	// observer drops raw values once they are decoded: nobody writes.
	observer bool
	// report is told of values that do not decode.
	report func(key string, err error)
}

func newStore(schema *Schema, observer bool, report func(string, error)) *store {
	return &store{
		schema:   schema,
		prefixes: disjoint(schema.prefixes),
		kvs:      map[string]KV{},
		observer: observer,
		report:   report,
	}
}

// disjoint sorts the prefixes and leaves out those that lie under another.
func disjoint(prefixes []string) []string {
	sorted := slices.Clone(prefixes)
	slices.Sort(sorted)
	var out []string
	for _, p := range sorted {
		if len(out) == 0 || !strings.HasPrefix(p, out[len(out)-1]) {
			out = append(out, p)
		}
	}
	return out
}

// watches reports whether key lies under a watched prefix.
func (s *store) watches(key string) bool {
	i, found := slices.BinarySearch(s.prefixes, key)
	return found || i > 0 && strings.HasPrefix(key, s.prefixes[i-1])
}

// span returns the smallest range of keys that holds every prefix. One watch
// over it keeps all prefixes at one revision, which several watches can not.
func (s *store) span() (begin, end string) {
	first, last := s.prefixes[0], s.prefixes[len(s.prefixes)-1]
	return first, clientv3.GetPrefixRangeEnd(last)
}

// put takes in one key's new value; older ones than what it has are ignored.
func (s *store) put(kv *mvccpb.KeyValue) {
	key := string(kv.Key)
	if s.kvs[key].ModRevision >= kv.ModRevision {
		return
	}
	entry := KV{Value: kv.Value, ModRevision: kv.ModRevision, CreateRevision: kv.CreateRevision, Lease: clientv3.LeaseID(kv.Lease)}
	for _, t := range s.schema.tables {
		params, ok := t.match(key)
		if !ok {
			continue
		}
		if err := t.put(key, params, entry); err != nil {
			s.report(key, err)
		}
	}
	if s.observer {
		entry.Value = nil
	}
	s.kvs[key] = entry
}

func (s *store) remove(key string, revision int64) {
	if old, ok := s.kvs[key]; !ok || old.ModRevision > revision {
		return
	}
	delete(s.kvs, key)
	for _, t := range s.schema.tables {
		if params, ok := t.match(key); ok {
			t.remove(key, params)
		}
	}
}

// apply takes in watch events; revision is that of the newest.
func (s *store) apply(events map[string]*clientv3.Event, revision int64) {
	for key, ev := range events {
		if ev.Type == mvccpb.DELETE {
			s.remove(key, ev.Kv.ModRevision)
		} else {
			s.put(ev.Kv)
		}
	}
	s.revision = max(s.revision, revision)
}

// replace takes in the whole contents at one revision: what differs is put,
// what is missing is removed, as if the events that were lost had come.
func (s *store) replace(kvs []*mvccpb.KeyValue, revision int64) {
	present := make(map[string]struct{}, len(kvs))
	for _, kv := range kvs {
		present[string(kv.Key)] = struct{}{}
		s.put(kv)
	}
	for key := range s.kvs {
		if _, ok := present[key]; !ok {
			s.remove(key, revision)
		}
	}
	s.revision = max(s.revision, revision)
}

// changed reports whether a table changed since the last settle.
func (s *store) changed() bool {
	return slices.ContainsFunc(s.schema.tables, table.changed)
}

func (s *store) settle() {
	for _, t := range s.schema.tables {
		t.settle()
	}
}
