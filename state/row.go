package state

import (
	"fmt"
	"slices"
)

// row is a key's place in a Table, found once for as long as the key exists:
// with each change of its value comes no other search.
type row[T any] struct {
	table *Table[T]
	key   string
	entry Entry[T]
	// listed: the value could be read, so the table shows the row. touched: the
	// next Tick is told of it.
	listed, touched bool
}

func (r *row[T]) put(kv KV) error {
	value, err := r.table.decode(kv.Value)
	if err != nil {
		r.touch()
		r.unlist()
		return fmt.Errorf("decoding the value of %s: %w", r.key, err)
	}
	entry := Entry[T]{
		Params: r.entry.Params, Value: value,
		ModRevision: kv.ModRevision, CreateRevision: kv.CreateRevision, Lease: kv.Lease,
	}
	if !r.listed || r.isNews(entry) {
		r.touch()
	}
	r.entry = entry
	r.list()
	return nil
}

// isNews reports whether the next Tick is to be told of what comes in the place
// of a value that the table shows.
func (r *row[T]) isNews(now Entry[T]) bool {
	same := r.table.same
	return same == nil || now.CreateRevision != r.entry.CreateRevision || now.Lease != r.entry.Lease || !same(r.entry.Value, now.Value)
}

func (r *row[T]) remove() {
	r.touch()
	r.unlist()
}

func (r *row[T]) touch() {
	if !r.touched {
		r.touched = true
		r.table.touched = append(r.table.touched, r)
	}
}

func (r *row[T]) list() {
	if r.listed {
		return
	}
	r.listed = true
	r.table.rows[r.key] = r
	if groups := r.table.groups; groups != nil {
		first := r.entry.Params[0]
		groups[first] = append(groups[first], r)
	}
}

func (r *row[T]) unlist() {
	if !r.listed {
		return
	}
	r.listed = false
	delete(r.table.rows, r.key)
	groups := r.table.groups
	if groups == nil {
		return
	}
	first := r.entry.Params[0]
	groups[first] = slices.DeleteFunc(groups[first], func(other *row[T]) bool { return other == r })
	if len(groups[first]) == 0 {
		delete(groups, first)
	}
}
