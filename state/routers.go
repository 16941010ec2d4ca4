package state

import clientv3 "go.etcd.io/etcd/client/v3"

// Routers is what an engine knows of routers. It finds what those that died have
// left, for any engine that may write.
//
// A router's key is under its lease and goes with it. But whoever toggles it with
// a plain put takes the lease off, and if the router dies before it has put it
// back, nothing would ever remove the key. So a router registers with two keys
// more: a record, which stays, and one under its lease that nobody else writes. A
// record without the other says that its router is dead. A key that nobody has a
// record of was written by an operator for a router to come, and stays.
type Routers struct {
	// Switches are the routers' keys, which hold what operators have written there.
	Switches          *Table[string]
	records, sessions *Table[string]
}

// NewRouters adds what Routers needs to the schema.
func NewRouters(s *Schema) *Routers {
	return &Routers{
		Switches: Register(s, RouterPattern, Text),
		records:  Register(s, RouterRecordPattern, Text),
		sessions: Register(s, RouterSessionPattern, Text),
	}
}

// Registered reports whether etcd holds record and session of a router.
func (r *Routers) Registered(router string) bool {
	_, recorded := r.records.Get(router)
	_, alive := r.sessions.Get(router)
	return recorded && alive
}

// Sweep returns what removes the keys of routers that have died since the last
// Tick, but for those of one name.
func (r *Routers) Sweep(but string) []Group {
	changed := map[string]struct{}{}
	for _, t := range []*Table[string]{r.records, r.sessions} {
		for params := range t.Changed() {
			changed[params[0]] = struct{}{}
		}
	}
	var groups []Group
	for router := range changed {
		if _, recorded := r.records.Get(router); recorded && router != but && !r.Registered(router) {
			groups = append(groups, forgetRouter(router))
		}
	}
	return groups
}

// forgetRouter removes the keys of a router, unless it runs. One that is under a
// lease goes with that.
func forgetRouter(router string) Group {
	return Group{Name: "forget router " + router, Apply: func(tx *Tx) error {
		_, recorded := tx.Get(RouterRecordKey(router))
		_, alive := tx.Get(RouterSessionKey(router))
		if !recorded || alive {
			return ErrSkip
		}
		tx.Delete(RouterRecordKey(router))
		if kv, ok := tx.Get(fill(RouterPattern, router)); ok && kv.Lease == clientv3.NoLease {
			tx.Delete(fill(RouterPattern, router))
		}
		return nil
	}}
}
