package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The limits of one group, and of the transaction that several groups share.
// They lie below etcd's own (128 operations, 1.5 MiB), because each
// transaction carries a marker.
const (
	MaxGroupKeys  = 120
	MaxGroupBytes = 1 << 20
)

// Errors of groups.
var (
	// ErrSkip, returned by Group.Apply, drops the group: nothing of it is
	// written.
	ErrSkip = errors.New("group skipped")
	// ErrUnknownOutcome says that a group may or may not have been committed,
	// and that etcd no longer knows.
	ErrUnknownOutcome = errors.New("commit outcome unknown")
	// ErrNoSession says that a group wanted to put a leased key while the
	// engine had no session.
	ErrNoSession = errors.New("no session with etcd")
)

// Group is a set of changes that commits as one: all of it, or nothing.
type Group struct {
	// Name says what the group does; it stands in errors and logs.
	Name string
	// Apply reads and writes through tx. It may be run many times, each time
	// over a newer picture, and must have no effect but what it does to tx.
	// It must not keep tx.
	Apply func(tx *Tx) error
	// Done, if set, is told once how the group ended: nil when it is committed
	// and the picture holds it. It runs on the engine's goroutine and must not block.
	Done func(err error)
}

// Tx is what a Group reads and writes. What it reads with Get it reads for
// good: if another changes such a key before the commit, Apply is run again.
type Tx struct {
	store  *store
	batch  *batch
	lease  clientv3.LeaseID
	reads  map[string]struct{}
	writes map[string]write
	ranges []string
	err    error
}

// write is one pending change of a key; no value means delete.
type write struct {
	value []byte
	lease clientv3.LeaseID
	// rewrite leaves the key under the lease that it has, which is lease.
	rewrite bool
}

// Get returns a key as the transaction will find it, and declares it read: the
// commit fails, and Apply runs again, if it is no longer so. A key that does
// not exist is declared, too.
func (tx *Tx) Get(key string) (KV, bool) {
	if !tx.watched(key) {
		return KV{}, false
	}
	tx.reads[key] = struct{}{}
	return tx.Peek(key)
}

// Peek returns a key without declaring it read: the commit does not depend on
// it. It serves for a search whose result is then read with Get.
func (tx *Tx) Peek(key string) (KV, bool) {
	if w, ok := tx.writes[key]; ok {
		return w.kv()
	}
	if underAny(tx.ranges, key) {
		return KV{}, false
	}
	return tx.batch.get(tx.store, key)
}

// Put writes a key without a lease.
func (tx *Tx) Put(key string, value []byte) {
	tx.write(key, write{value: append([]byte{}, value...)})
}

// PutLeased writes a key under the engine's session: it goes when the session
// does.
func (tx *Tx) PutLeased(key string, value []byte) {
	if tx.lease == clientv3.NoLease {
		tx.fail(ErrNoSession)
		return
	}
	tx.write(key, write{value: append([]byte{}, value...), lease: tx.lease})
}

// PutUnder writes a key under a lease of the caller's, which nobody keeps alive:
// it goes when the lease ends.
func (tx *Tx) PutUnder(key string, value []byte, lease clientv3.LeaseID) {
	tx.write(key, write{value: append([]byte{}, value...), lease: lease})
}

// Rewrite changes the value of a key that exists, and leaves it under the lease
// that it has: whoever's it is, it still goes when he does.
func (tx *Tx) Rewrite(key string, value []byte) {
	kv, ok := tx.Get(key)
	if !ok {
		tx.fail(fmt.Errorf("rewriting %s: there is no such key", key))
		return
	}
	// One that this transaction writes, too, gets its lease from it.
	stands := kv.ModRevision != 0
	tx.write(key, write{value: append([]byte{}, value...), lease: kv.Lease, rewrite: stands})
}

// PutJSON writes v as JSON without a lease.
func (tx *Tx) PutJSON(key string, v any) {
	value, err := json.Marshal(v)
	if err != nil {
		tx.fail(fmt.Errorf("encoding %s: %w", key, err))
		return
	}
	tx.Put(key, value)
}

// Delete removes a key; one that does not exist is left alone.
func (tx *Tx) Delete(key string) {
	if _, ok := tx.Get(key); ok {
		tx.write(key, write{})
	}
}

// DeletePrefix removes every key under prefix, whatever stands there at the
// commit. It declares nothing read: the group has to read the key that makes
// the deletion right.
func (tx *Tx) DeletePrefix(prefix string) {
	if !tx.watched(prefix) {
		return
	}
	for key := range tx.writes {
		if strings.HasPrefix(key, prefix) {
			tx.fail(fmt.Errorf("deleting %s: the group writes %s, too", prefix, key))
			return
		}
	}
	tx.ranges = append(tx.ranges, prefix)
}

// Lease returns the engine's session, 0 while it has none.
func (tx *Tx) Lease() clientv3.LeaseID { return tx.lease }

func (tx *Tx) write(key string, w write) {
	if !tx.watched(key) {
		return
	}
	if underAny(tx.ranges, key) {
		tx.fail(fmt.Errorf("writing %s: the group deletes its prefix, too", key))
		return
	}
	tx.writes[key] = w
}

func (tx *Tx) watched(key string) bool {
	if tx.store.watches(key) {
		return true
	}
	tx.fail(fmt.Errorf("key %s is outside the watched prefixes", key))
	return false
}

func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

// kv is what a reader finds after the write. Its revisions are not known yet.
func (w write) kv() (KV, bool) {
	if w.value == nil {
		return KV{}, false
	}
	return KV{Value: w.value, Lease: w.lease}, true
}

// Load reads a key with Get and decodes it. A key that does not exist is
// false, without an error.
func Load[T any](tx *Tx, key string, decode func([]byte) (T, error)) (T, bool, error) {
	var zero T
	kv, ok := tx.Get(key)
	if !ok {
		return zero, false, tx.err
	}
	v, err := decode(kv.Value)
	if err != nil {
		return zero, false, fmt.Errorf("decoding the value of %s: %w", key, err)
	}
	return v, true, nil
}

func underAny(prefixes []string, key string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// dropUnchanged turns writes that change nothing into mere reads.
func (tx *Tx) dropUnchanged() {
	for key, w := range tx.writes {
		old, ok := tx.batch.get(tx.store, key)
		if ok && w.value != nil && bytes.Equal(old.Value, w.value) && old.Lease == w.lease {
			delete(tx.writes, key)
			tx.reads[key] = struct{}{}
		}
	}
}

// keys counts what the group needs of a transaction's operations.
func (tx *Tx) keys() int {
	n := len(tx.writes) + len(tx.ranges)
	for key := range tx.reads {
		if _, ok := tx.writes[key]; !ok {
			n++
		}
	}
	return n
}

// touches reports whether the group reads or writes one of keys.
func (tx *Tx) touches(keys map[string]struct{}) bool {
	for key := range keys {
		if _, ok := tx.reads[key]; ok {
			return true
		}
		if _, ok := tx.writes[key]; ok {
			return true
		}
	}
	return false
}

func (tx *Tx) bytes() int {
	n := 0
	for key, w := range tx.writes {
		n += len(key) + len(w.value)
	}
	return n
}

func (tx *Tx) check(name string) error {
	if n := tx.keys(); n > MaxGroupKeys {
		return fmt.Errorf("group %s: patch group of %d keys exceeds the limit of %d", name, n, MaxGroupKeys)
	}
	if n := tx.bytes(); n > MaxGroupBytes {
		return fmt.Errorf("group %s: patch group of %d bytes exceeds the limit of %d", name, n, MaxGroupBytes)
	}
	return nil
}
