package federation

import (
	"cmp"
	"iter"
	"maps"
	"slices"
)

// shelf holds the records of one kind as a step finds and leaves them: what is
// written stands before what was found, until the store takes it over.
type shelf[K comparable, V any] struct {
	// find reads what the store holds, and list all keys of it.
	find  func(K) (V, bool)
	list  func() iter.Seq[K]
	order func(a, b K) int
	// written has a nil for what is deleted.
	written map[K]*V
}

// get returns the record of a key.
func (s *shelf[K, V]) get(key K) (V, bool) {
	if v, ok := s.written[key]; ok {
		if v == nil {
			return *new(V), false
		}
		return *v, true
	}
	return s.find(key)
}

func (s *shelf[K, V]) put(key K, v V) { s.write(key, &v) }

func (s *shelf[K, V]) remove(key K) {
	if _, ok := s.get(key); ok {
		s.write(key, nil)
	}
}

func (s *shelf[K, V]) write(key K, v *V) {
	if s.written == nil {
		s.written = map[K]*V{}
	}
	s.written[key] = v
}

// all returns every record, in the order of the keys.
func (s *shelf[K, V]) all() iter.Seq2[K, V] {
	keys := slices.Collect(s.list())
	for key := range s.written {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, s.order)
	return func(yield func(K, V) bool) {
		for _, key := range keys {
			if v, ok := s.get(key); ok && !yield(key, v) {
				return
			}
		}
	}
}

// changes ranges over what was written, in the order of the keys. nil: deleted.
func (s *shelf[K, V]) changes() iter.Seq2[K, *V] {
	return func(yield func(K, *V) bool) {
		for _, key := range slices.SortedFunc(maps.Keys(s.written), s.order) {
			if !yield(key, s.written[key]) {
				return
			}
		}
	}
}

func byTxAndDC(a, b LetterID) int {
	return cmp.Or(cmp.Compare(a.Tx, b.Tx), cmp.Compare(a.DC, b.DC))
}
