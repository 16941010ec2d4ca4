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

// record is one key of the picture, and where it stands in tables.
type record struct {
	KV
	places []place
}

// place is where a key stands in a Table of any type.
type place interface {
	// put takes in the key's new value, or leaves the key out and says why.
	put(kv KV) error
	// remove takes the key out: it is gone.
	remove()
}

// store is the engine's picture of the watched prefixes: etcd's contents at
// exactly one revision. The engine's loop alone changes it.
type store struct {
	schema   *Schema
	prefixes []string
	records  map[string]*record
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
		records:  map[string]*record{},
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

// interest is what the picture has in a key.
type interest int

const (
	// unwanted: the picture leaves the key out.
	unwanted interest = iota
	// patient: the picture takes it in, but nobody is waiting for it.
	patient
	// urgent: a Tick or a commit may be waiting for it.
	urgent
)

// interest returns what the picture has in a key that the watch brings. An
// observer, in which no group can ask for it, leaves out what no table wants.
func (s *store) interest(key string) interest {
	found := unwanted
	if !s.observer && s.watches(key) {
		found = patient
	}
	for _, t := range s.schema.tables {
		if !t.matches(key) {
			continue
		}
		if !t.quiet() {
			return urgent
		}
		found = patient
	}
	if found == patient && underAny(s.schema.watched, key) {
		return urgent
	}
	return found
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

// get returns a key as the picture has it.
func (s *store) get(key string) (KV, bool) {
	if r, ok := s.records[key]; ok {
		return r.KV, true
	}
	return KV{}, false
}

// put takes in one key's new value; older ones than what it has are ignored.
func (s *store) put(kv *mvccpb.KeyValue) {
	r, ok := s.records[string(kv.Key)]
	if !ok {
		r = s.add(string(kv.Key))
	}
	if r.ModRevision >= kv.ModRevision {
		return
	}
	r.KV = KV{Value: kv.Value, ModRevision: kv.ModRevision, CreateRevision: kv.CreateRevision, Lease: clientv3.LeaseID(kv.Lease)}
	for _, p := range r.places {
		if err := p.put(r.KV); err != nil {
			s.report(string(kv.Key), err)
		}
	}
	if s.observer {
		r.Value = nil
	}
}

// add makes a new key's record.
func (s *store) add(key string) *record {
	r := &record{}
	for _, t := range s.schema.tables {
		if t.matches(key) {
			r.places = append(r.places, t.place(key))
		}
	}
	s.records[key] = r
	return r
}

func (s *store) remove(key string, revision int64) {
	r, ok := s.records[key]
	if !ok || r.ModRevision > revision {
		return
	}
	delete(s.records, key)
	for _, p := range r.places {
		p.remove()
	}
}

// apply takes in watch events; revision is that of the newest.
func (s *store) apply(events []*clientv3.Event, revision int64) {
	for _, ev := range events {
		if ev.Type == mvccpb.DELETE {
			s.remove(string(ev.Kv.Key), ev.Kv.ModRevision)
		} else {
			s.put(ev.Kv)
		}
	}
	s.revision = max(s.revision, revision)
}

// forgetRevisions has the next replace take in everything, whatever its revision:
// it is another etcd's.
func (s *store) forgetRevisions() {
	s.revision = 0
	for _, r := range s.records {
		r.ModRevision = 0
	}
}

// replace takes in the whole contents at one revision: what differs is put,
// what is missing is removed, as if the events that were lost had come.
func (s *store) replace(kvs []*mvccpb.KeyValue, revision int64) {
	for _, kv := range kvs {
		s.revert(kv, revision)
		s.put(kv)
	}
	if len(s.records) > len(kvs) {
		s.removeAllBut(kvs, revision)
	}
	s.revision = max(s.revision, revision)
}

// revert makes way for an earlier value of a key. At a revision that lies after the
// one that the picture has, it can only have been restored from a snapshot.
func (s *store) revert(kv *mvccpb.KeyValue, revision int64) {
	r, ok := s.records[string(kv.Key)]
	if ok && kv.ModRevision < r.ModRevision && r.ModRevision <= revision {
		r.ModRevision = 0
	}
}

func (s *store) removeAllBut(kvs []*mvccpb.KeyValue, revision int64) {
	present := make(map[string]struct{}, len(kvs))
	for _, kv := range kvs {
		present[string(kv.Key)] = struct{}{}
	}
	for key := range s.records {
		if _, ok := present[key]; !ok {
			s.remove(key, revision)
		}
	}
}

// changed reports whether a table changed since the last settle.
func (s *store) changed() bool {
	return slices.ContainsFunc(s.schema.tables, table.changed)
}

// each calls what a Tick's begin or end asks of every table.
func (s *store) each(do func(table)) {
	for _, t := range s.schema.tables {
		do(t)
	}
}
