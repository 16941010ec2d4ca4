package state

import (
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// batch is one transaction in the making: the groups that share it, what they
// read and what they write.
type batch struct {
	groups   []*pending
	compares map[string]int64
	writes   map[string]write
	ranges   []string
	bytes    int
	// spared are the keys that are left to others for now: see courtesy.
	spared map[string]struct{}
	// resets is Engine.resets as it was when the batch was made.
	resets int
}

func newBatch() *batch {
	return &batch{compares: map[string]int64{}, writes: map[string]write{}}
}

// get reads through the batch's writes into the store.
func (b *batch) get(s *store, key string) (KV, bool) {
	if w, ok := b.writes[key]; ok {
		return w.kv()
	}
	if underAny(b.ranges, key) {
		return KV{}, false
	}
	return s.get(key)
}

// Why a group is left to a later batch: there is no room, it goes better
// without those already in this one, or it is others' turn.
var (
	errFull   = errors.New("batch is full")
	errApart  = errors.New("group goes apart")
	errSpared = errors.New("group lets others go first")
)

// add runs the group and takes its changes in. On these three errors the batch
// is unchanged and the group belongs into a later one; on another the group is
// at its end.
func (b *batch) add(s *store, p *pending, lease clientv3.LeaseID) error {
	tx := &Tx{store: s, batch: b, lease: lease, reads: map[string]struct{}{}, writes: map[string]write{}}
	if err := p.group.Apply(tx); err != nil {
		return err
	}
	if tx.err != nil {
		return fmt.Errorf("group %s: %w", p.group.Name, tx.err)
	}
	tx.dropUnchanged()
	if err := tx.check(p.group.Name); err != nil {
		return err
	}
	if p.lost == 0 && tx.touches(b.spared) {
		return errSpared
	}
	if len(b.groups) > 0 {
		if p.alone || b.groups[0].alone {
			return errApart
		}
		if !b.fits(tx) {
			return errFull
		}
	}
	p.tx = tx
	b.merge(s, tx)
	b.groups = append(b.groups, p)
	return nil
}

// fits reports whether tx can share the batch's transaction. Counting keys
// that both touch twice errs on the safe side.
func (b *batch) fits(tx *Tx) bool {
	if len(b.compares)+len(b.ranges)+tx.keys() > MaxGroupKeys || b.bytes+tx.bytes() > MaxGroupBytes {
		return false
	}
	for key := range tx.writes {
		if underAny(b.ranges, key) {
			return false
		}
	}
	for key := range b.writes {
		if underAny(tx.ranges, key) {
			return false
		}
	}
	return true
}

func (b *batch) merge(s *store, tx *Tx) {
	b.bytes += tx.bytes()
	b.ranges = append(b.ranges, tx.ranges...)
	for key := range tx.reads {
		kv, _ := s.get(key)
		b.compares[key] = kv.ModRevision
	}
	for key, w := range tx.writes {
		kv, _ := s.get(key)
		b.compares[key] = kv.ModRevision
		b.writes[key] = w
	}
}

// comparesAny reports whether the batch rests on one of keys.
func (b *batch) comparesAny(keys map[string]struct{}) bool {
	for key := range keys {
		if _, ok := b.compares[key]; ok {
			return true
		}
	}
	return false
}

// empty reports whether the batch changes nothing.
func (b *batch) empty() bool { return len(b.writes) == 0 && len(b.ranges) == 0 }

// ops spells the batch for etcd.
func (b *batch) ops() (compares []clientv3.Cmp, then, otherwise []clientv3.Op) {
	for key, revision := range b.compares {
		compares = append(compares, clientv3.Compare(clientv3.ModRevision(key), "=", revision))
		otherwise = append(otherwise, clientv3.OpGet(key, clientv3.WithKeysOnly()))
	}
	for key, w := range b.writes {
		then = append(then, w.op(key))
	}
	for _, prefix := range b.ranges {
		then = append(then, clientv3.OpDelete(prefix, clientv3.WithPrefix()))
	}
	return compares, then, otherwise
}

func (w write) op(key string) clientv3.Op {
	switch {
	case w.value == nil:
		return clientv3.OpDelete(key)
	case w.rewrite:
		return clientv3.OpPut(key, string(w.value), clientv3.WithIgnoreLease())
	}
	return clientv3.OpPut(key, string(w.value), clientv3.WithLease(w.lease))
}
