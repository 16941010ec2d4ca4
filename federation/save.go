package federation

import (
	"encoding/json"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// save writes what a step has changed. More ports than fit into a transaction
// go into earlier ones: then it returns errMore, and the step is run again over
// what has been written. The site's own state, on which all of it depends, is
// written last.
func (st *store) save(tx *state.Tx, s *Site, lease clientv3.LeaseID) error {
	if s.overlayChanged && s.overlay != nil && lease == clientv3.NoLease {
		return errNeedsLease
	}
	w := writer{tx: tx, room: earlyKeys}
	saveText(&w, &s.local.holders, state.PortKey)
	saveJSON(&w, &s.gips, state.FederationGIPKey)
	saveRemoved(&w, &s.log, state.FederationLogKey)
	if w.room < 0 {
		return errMore
	}
	w.room = earlyKeys
	saveJSON(&w, &s.log, state.FederationLogKey)
	saveJSON(&w, &s.outbox, func(id LetterID) string { return state.FederationOutboxKey(id.Tx, id.DC) })
	saveJSON(&w, &s.holds, state.FederationHoldKey)
	saveJSON(&w, &s.local.allocated, state.AllocationKey)
	if s.local.moved {
		tx.Put(state.NextPortKey(), strconv.AppendInt(nil, int64(s.local.next), 10))
	}
	if s.selfChanged {
		tx.PutJSON(state.FederationSelfKey(), s.self)
	}
	switch {
	case s.overlayChanged && s.overlay == nil:
		tx.Delete(state.FederationOverlayKey())
	case s.overlayChanged:
		tx.PutUnder(state.FederationOverlayKey(), encode(s.overlay), lease)
	}
	return nil
}

// writer writes as long as there is room. Below zero, something was left out.
type writer struct {
	tx   *state.Tx
	room int
}

// put writes a key, or deletes it if value is nil. What is so already costs
// nothing.
func (w *writer) put(key string, value []byte) {
	old, ok := w.tx.Peek(key)
	if ok == (value != nil) && string(old.Value) == string(value) {
		return
	}
	if w.room--; w.room < 0 {
		return
	}
	if value == nil {
		w.tx.Delete(key)
	} else {
		w.tx.Put(key, value)
	}
}

func saveText[K comparable](w *writer, s *shelf[K, string], spell func(K) string) {
	for k, v := range s.changes() {
		var value []byte
		if v != nil {
			value = []byte(*v)
		}
		w.put(spell(k), value)
	}
}

func saveJSON[K comparable, V any](w *writer, s *shelf[K, V], spell func(K) string) {
	for k, v := range s.changes() {
		var value []byte
		if v != nil {
			value = encode(v)
		}
		w.put(spell(k), value)
	}
}

// saveRemoved deletes what a step removed, and leaves what it put.
func saveRemoved[K comparable, V any](w *writer, s *shelf[K, V], spell func(K) string) {
	for k, v := range s.changes() {
		if v == nil {
			w.put(spell(k), nil)
		}
	}
}

// encode spells a record. Ours have nothing in them that JSON does not take.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
