package state

import (
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Schema names the keys that an engine keeps a picture of, and how their
// values are read. Fill it with Register, then give it to one engine.
type Schema struct {
	tables   []table
	prefixes []string
}

// NewSchema returns an empty schema.
func NewSchema() *Schema { return &Schema{} }

// Watch adds a prefix without a table: its keys can be read and written by
// groups.
func (s *Schema) Watch(prefix string) { s.prefixes = append(s.prefixes, prefix) }

// table is what the engine needs of a Table of any type.
type table interface {
	match(key string) ([]string, bool)
	put(key string, params []string, kv KV) error
	remove(key string, params []string)
	settle()
	changed() bool
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
	entries map[string]Entry[T]
	// groups holds the keys under one first parameter, for patterns with more
	// than one.
	groups  map[string]map[string]struct{}
	touched map[string][]string
}

// Register adds a table of all keys that match pattern, such as
// "/service/{id}/leader", to the schema. A value that decode refuses is
// reported by key and left out; it never stops the others.
func Register[T any](s *Schema, pattern string, decode func([]byte) (T, error)) *Table[T] {
	t := &Table[T]{
		pattern: strings.Split(pattern, "/"),
		decode:  decode,
		entries: map[string]Entry[T]{},
		touched: map[string][]string{},
	}
	if strings.Count(pattern, "{") > 1 {
		t.groups = map[string]map[string]struct{}{}
	}
	s.tables = append(s.tables, t)
	prefix, _, _ := strings.Cut(pattern, "{")
	s.prefixes = append(s.prefixes, prefix)
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
	e, ok := t.entries[t.key(params)]
	return e, ok
}

// Len returns how many entries the table holds.
func (t *Table[T]) Len() int { return len(t.entries) }

// All ranges over the entries in no order.
func (t *Table[T]) All() iter.Seq[Entry[T]] {
	return func(yield func(Entry[T]) bool) {
		for _, e := range t.entries {
			if !yield(e) {
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
		for key := range t.groups[first] {
			if !yield(t.entries[key]) {
				return
			}
		}
	}
}

// Changed ranges over the parameters of what was put or deleted since the last
// Tick: after a load, of everything that the load changed.
func (t *Table[T]) Changed() iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for _, params := range t.touched {
			if !yield(params) {
				return
			}
		}
	}
}

// key spells the key of these parameters.
func (t *Table[T]) key(params []string) string {
	var b strings.Builder
	next := 0
	for i, segment := range t.pattern {
		if i > 0 {
			b.WriteByte('/')
		}
		if isParam(segment) && next < len(params) {
			segment = Segment(params[next])
			next++
		}
		b.WriteString(segment)
	}
	return b.String()
}

func isParam(segment string) bool { return strings.HasPrefix(segment, "{") }

// match returns the parameters of a key of this table's pattern.
func (t *Table[T]) match(key string) ([]string, bool) {
	if strings.Count(key, "/") != len(t.pattern)-1 {
		return nil, false
	}
	var params []string
	rest := key
	for _, want := range t.pattern {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		if !isParam(want) {
			if segment != want {
				return nil, false
			}
			continue
		}
		param, err := unsegment(segment)
		if err != nil {
			return nil, false
		}
		params = append(params, param)
	}
	return params, true
}

func (t *Table[T]) put(key string, params []string, kv KV) error {
	t.touched[key] = params
	value, err := t.decode(kv.Value)
	if err != nil {
		t.drop(key, params)
		return fmt.Errorf("decoding the value of %s: %w", key, err)
	}
	t.entries[key] = Entry[T]{
		Params: params, Value: value,
		ModRevision: kv.ModRevision, CreateRevision: kv.CreateRevision, Lease: kv.Lease,
	}
	if t.groups != nil {
		group := t.groups[params[0]]
		if group == nil {
			group = map[string]struct{}{}
			t.groups[params[0]] = group
		}
		group[key] = struct{}{}
	}
	return nil
}

func (t *Table[T]) remove(key string, params []string) {
	t.touched[key] = params
	t.drop(key, params)
}

func (t *Table[T]) drop(key string, params []string) {
	delete(t.entries, key)
	if t.groups == nil {
		return
	}
	group := t.groups[params[0]]
	delete(group, key)
	if len(group) == 0 {
		delete(t.groups, params[0])
	}
}

func (t *Table[T]) changed() bool { return len(t.touched) > 0 }

// settle forgets what changed: the Tick that saw it is over.
func (t *Table[T]) settle() { clear(t.touched) }
