package state

import (
	"encoding/json"
	"iter"
	"slices"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Schema names the keys that an engine keeps a picture of, and how their
// values are read. Fill it with Register, then give it to one engine.
type Schema struct {
	tables []table
	// watched are the prefixes without a table, prefixes those and the tables'.
	watched  []string
	prefixes []string
}

// NewSchema returns an empty schema.
func NewSchema() *Schema { return &Schema{} }

// Watch adds a prefix without a table: its keys can be read and written by
// groups.
func (s *Schema) Watch(prefix string) {
	s.watched = append(s.watched, prefix)
	s.prefixes = append(s.prefixes, prefix)
}

// table is what the engine needs of a Table of any type.
type table interface {
	matches(key string) bool
	quiet() bool
	place(key string) place
	changed() bool
	settle()
	doubt()
	retell()
}

// Entry is one key of a table with its decoded value.
type Entry[T any] struct {
	// Params are the segments that stood in the pattern's braces, unescaped.
	// They belong to the table: read only.
	Params         []string
	Value          T
	ModRevision    int64
	CreateRevision int64
	Lease          clientv3.LeaseID
}

// Table is the typed picture of all keys that match one pattern. Its methods
// may be called only where the engine holds the picture still: in Tick, in
// Engine.View, in Engine.Await's condition and in Group.Apply.
type Table[T any] struct {
	pattern []string
	decode  func([]byte) (T, error)
	// same is of a quiet table: which values are no news.
	same func(before, now T) bool
	rows map[string]*row[T]
	// groups holds the rows under one first parameter, for patterns with more
	// than one.
	groups map[string][]*row[T]
	// touched is what the next Tick is told of, told what the last one was, and
	// again what that one is to be told of again.
	touched, told, again []*row[T]
}

// Register adds a table of all keys that match pattern, such as
// "/service/{id}/leader", to the schema. A value that decode refuses is
// reported by key and left out; it never stops the others.
func Register[T any](s *Schema, pattern string, decode func([]byte) (T, error)) *Table[T] {
	t := &Table[T]{
		pattern: strings.Split(pattern, "/"),
		decode:  decode,
		rows:    map[string]*row[T]{},
	}
	if strings.Count(pattern, "{") > 1 {
		t.groups = map[string][]*row[T]{}
	}
	s.tables = append(s.tables, t)
	prefix, _, _ := strings.Cut(pattern, "{")
	s.prefixes = append(s.prefixes, prefix)
	return t
}

// Quiet says of a table that its keys are written often and seldom say anything
// new. No Tick comes for a value that is the same as the one before, and Changed
// leaves it out, though the table shows it; what comes in is taken in together,
// some milliseconds late. Call it before the engine is made.
func (t *Table[T]) Quiet(same func(before, now T) bool) *Table[T] {
	t.same = same
	return t
}

// Text decodes a value that is plain text.
func Text(b []byte) (string, error) { return string(b), nil }

// Integer decodes a decimal number.
func Integer(b []byte) (int, error) { return strconv.Atoi(string(b)) }

// JSON decodes a JSON value into a T.
func JSON[T any](b []byte) (T, error) {
	var v T
	err := json.Unmarshal(b, &v)
	return v, err
}

// Get returns the entry of these parameters, in the pattern's order.
func (t *Table[T]) Get(params ...string) (Entry[T], bool) {
	var buf [128]byte // most keys fit: looking one up allocates nothing
	if r, ok := t.rows[string(t.appendKey(buf[:0], params))]; ok {
		return r.entry, true
	}
	return Entry[T]{}, false
}

// Last is Get, and of a key that was deleted since the last Tick it returns what
// it held before: what is written and lost between two Ticks is not missed.
func (t *Table[T]) Last(params ...string) (Entry[T], bool) {
	if e, ok := t.Get(params...); ok {
		return e, true
	}
	for _, r := range slices.Backward(t.touched) {
		if slices.Equal(r.entry.Params, params) && r.entry.ModRevision != 0 {
			return r.entry, true
		}
	}
	return Entry[T]{}, false
}

// Len returns how many entries the table holds.
func (t *Table[T]) Len() int { return len(t.rows) }

// All ranges over the entries in no order.
func (t *Table[T]) All() iter.Seq[Entry[T]] {
	return func(yield func(Entry[T]) bool) {
		for _, r := range t.rows {
			if !yield(r.entry) {
				return
			}
		}
	}
}

// Under ranges over the entries whose first parameter is first, in no order.
func (t *Table[T]) Under(first string) iter.Seq[Entry[T]] {
	return func(yield func(Entry[T]) bool) {
		if t.groups == nil {
			if e, ok := t.Get(first); ok {
				yield(e)
			}
			return
		}
		for _, r := range t.groups[first] {
			if !yield(r.entry) {
				return
			}
		}
	}
}

// Changed ranges over the parameters of what was put or deleted since the last
// Tick: after a load, of everything that the load changed. A second after a
// Tick of which a group was refused, it ranges over what that Tick was told, too.
func (t *Table[T]) Changed() iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for _, r := range t.touched {
			if !yield(r.entry.Params) {
				return
			}
		}
	}
}

// appendKey spells the key of these parameters.
func (t *Table[T]) appendKey(key []byte, params []string) []byte {
	next := 0
	for i, segment := range t.pattern {
		if i > 0 {
			key = append(key, '/')
		}
		if isParam(segment) && next < len(params) {
			segment = Segment(params[next])
			next++
		}
		key = append(key, segment...)
	}
	return key
}

func isParam(segment string) bool { return strings.HasPrefix(segment, "{") }

// matches reports whether key is of this table's pattern. It is asked of every
// key that comes in, and allocates nothing.
func (t *Table[T]) matches(key string) bool { return matches(t.pattern, key) }

// Matcher returns what reports whether a key is of a pattern. It allocates nothing.
func Matcher(pattern string) func(key string) bool {
	segments := strings.Split(pattern, "/")
	return func(key string) bool { return matches(segments, key) }
}

func matches(pattern []string, key string) bool {
	for i, want := range pattern {
		segment, rest, more := strings.Cut(key, "/")
		if last := i == len(pattern)-1; more == last {
			return false
		}
		if isParam(want) && !isSegment(segment) || !isParam(want) && segment != want {
			return false
		}
		key = rest
	}
	return true
}

func (t *Table[T]) quiet() bool { return t.same != nil }

// params returns the parameters of a key that matches.
func (t *Table[T]) params(key string) []string {
	var params []string
	for _, want := range t.pattern {
		var segment string
		segment, key, _ = strings.Cut(key, "/")
		if isParam(want) {
			param, _ := unsegment(segment)
			params = append(params, param)
		}
	}
	return params
}

// place returns the place of a key that matches and is new to the picture.
func (t *Table[T]) place(key string) place {
	return &row[T]{table: t, key: key, entry: Entry[T]{Params: t.params(key)}}
}

func (t *Table[T]) changed() bool { return len(t.touched) > 0 }

// settle forgets what changed: the Tick that saw it is over.
func (t *Table[T]) settle() {
	for _, r := range t.touched {
		r.touched = false
	}
	t.touched, t.told = nil, t.touched
}

// doubt remembers what the last Tick was told: nothing may have come of it.
func (t *Table[T]) doubt() {
	t.again = append(t.again, t.told...)
	t.told = nil
}

// retell has the next Tick told again of what was doubted.
func (t *Table[T]) retell() {
	for _, r := range t.again {
		r.touch()
	}
	t.again = nil
}
