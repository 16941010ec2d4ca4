package federation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// earlyKeys is how many keys of one step share a transaction. A step that
// changes more ports than that is done in several, the site's own state last.
const earlyKeys = 90

// maxTTL bounds how long another site may make an overlay last here.
const maxTTL = 10 * time.Minute

// store keeps a site's records in etcd and makes each step one transaction.
type store struct {
	client *clientv3.Client
	engine *state.Engine
	own    Self
	ports  state.Ports
	ttl    time.Duration
	fresh  func() string

	self        *state.Table[Self]
	overlay     *state.Table[Overlay]
	log         *state.Table[Entry]
	outbox      *state.Table[Letter]
	gips        *state.Table[GIP]
	holds       *state.Table[Hold]
	wants       *state.Table[Want]
	format      *state.Format
	moves       *state.Table[state.MoveNote]
	allocations *state.Table[int]

	// mu makes steps of this process wait for each other: one that lists records
	// has to see what the one before has written.
	mu sync.Mutex
}

func newStore(schema *state.Schema) *store {
	for _, prefix := range []string{state.FederationPrefix, "/routing/", "/serviceinstance/"} {
		schema.Watch(prefix)
	}
	return &store{
		self:        state.Register(schema, state.FederationSelfPattern, state.JSON[Self]),
		overlay:     state.Register(schema, state.FederationOverlayPattern, state.JSON[Overlay]),
		log:         state.Register(schema, state.FederationLogPattern, state.JSON[Entry]),
		outbox:      state.Register(schema, state.FederationOutboxPattern, state.JSON[Letter]),
		gips:        state.Register(schema, state.FederationGIPPattern, state.JSON[GIP]),
		holds:       state.Register(schema, state.FederationHoldPattern, state.JSON[Hold]),
		wants:       state.Register(schema, state.FederationWantPattern, state.JSON[Want]),
		moves:       state.Register(schema, state.FederationMovePattern, state.JSON[state.MoveNote]),
		allocations: state.Register(schema, state.AllocationPattern, state.Integer),
		format:      state.NewFormat(schema),
	}
}

// errNeedsLease and errMore say that a step is not yet done.
var (
	errNeedsLease = errors.New("the overlay needs a lease")
	errMore       = errors.New("the step goes on in another transaction")
)

// do runs a step until it is committed. What the step refuses is returned, and
// nothing of it is written: what the refusal rests on was so at some moment of
// the call.
func (st *store) do(ctx context.Context, name string, step func(*Site) error) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	lease, used := clientv3.LeaseID(clientv3.NoLease), false
	defer func() {
		if lease != clientv3.NoLease && !used {
			st.revoke(ctx, lease)
		}
	}()
	for {
		var ttl time.Duration
		var again, refusal error
		err := st.engine.Do(ctx, state.Group{Name: "federation: " + name, Apply: func(tx *state.Tx) error {
			site, err := st.open(tx)
			if err != nil {
				return err
			}
			if refusal = step(site); refusal != nil {
				again = nil
				return nil
			}
			again = st.save(tx, site, lease)
			if errors.Is(again, errNeedsLease) {
				ttl = min(site.overlay.Expires.Sub(site.now), maxTTL)
				return again
			}
			return nil
		}})
		switch {
		case errors.Is(err, errNeedsLease):
			if lease, err = st.grant(ctx, ttl); err != nil {
				return err
			}
		case err != nil:
			return err
		case refusal != nil:
			return refusal
		case again == nil:
			used = lease != clientv3.NoLease
			return nil
		}
	}
}

// homeOf returns the home of an instance's global port, empty if it has none, by
// the picture as it is.
func (st *store) homeOf(instance string) string {
	for e := range st.gips.All() {
		if e.Value.Instance == instance {
			return e.Value.Home
		}
	}
	return ""
}

// stands returns what the site knows of itself, and the state that it is in, by the
// picture as it is.
func (st *store) stands() (Self, State) {
	self := st.own
	if e, known := st.self.Get(); known {
		self = e.Value
	}
	if e, waits := st.overlay.Get(); waits {
		return self, e.Value.Kind
	}
	return self, self.State
}

// movesUnderWay counts the instances that move, by the picture as it is.
func (st *store) movesUnderWay() (n int) {
	for e := range st.moves.All() {
		if e.Params[1] == state.MoveOwn {
			n++
		}
	}
	return n
}

func (st *store) grant(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	granted, err := st.client.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
	if err != nil {
		return clientv3.NoLease, fmt.Errorf("granting the overlay's lease: %w", err)
	}
	return granted.ID, nil
}

func (st *store) revoke(ctx context.Context, lease clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	// If it fails, the lease ends by itself: nothing is under it.
	_, _ = st.client.Revoke(ctx, lease)
}

// read looks at the site's records as they are.
func (st *store) read(ctx context.Context, look func(*Site)) error {
	return st.do(ctx, "read", func(s *Site) error {
		look(s)
		return nil
	})
}

// open reads the records. Every step rests on self and overlay as it found
// them: whatever matters changes one of them.
func (st *store) open(tx *state.Tx) (*Site, error) {
	if err := st.format.Heed(tx); err != nil {
		return nil, err
	}
	self, known, err := state.Load(tx, state.FederationSelfKey(), state.JSON[Self])
	if err != nil {
		return nil, err
	}
	if !known {
		self = st.own
	}
	overlay, reviewed, err := state.Load(tx, state.FederationOverlayKey(), state.JSON[Overlay])
	if err != nil {
		return nil, err
	}
	next, _, err := state.Load(tx, state.NextPortKey(), state.Integer)
	if err != nil {
		return nil, err
	}
	site := &Site{
		self: self, selfChanged: !known, now: time.Now(), ttl: st.ttl,
		log:    stored(tx, st.log, epochOf, cmp.Compare[int], state.FederationLogKey),
		outbox: stored(tx, st.outbox, letterOf, byTxAndDC, func(id LetterID) string { return state.FederationOutboxKey(id.Tx, id.DC) }),
		gips:   stored(tx, st.gips, epochOf, cmp.Compare[int], state.FederationGIPKey),
		holds:  stored(tx, st.holds, textOf, strings.Compare, state.FederationHoldKey),
		exists: func(id string) bool { _, ok := tx.Peek(state.InstanceKey(id)); return ok },
		pin:    func(id string) { tx.Get(state.InstanceKey(id)) },
		consents: func(id, to string) bool {
			note, said, err := loadNote(tx, id, state.MoveOwn)
			return err == nil && said && note.Stage == state.MoveReady && note.To == to
		},
		local: ports{
			span: st.ports, next: next,
			holders:   shelf[int, string]{find: text(tx, state.PortKey), order: cmp.Compare[int]},
			allocated: stored(tx, st.allocations, textOf, strings.Compare, state.AllocationKey),
		},
	}
	if reviewed {
		site.overlay = &overlay
	}
	return site, nil
}

// stored is a shelf over a table of JSON records.
func stored[K comparable, V any](tx *state.Tx, t *state.Table[V], key func([]string) K, order func(a, b K) int, spell func(K) string) shelf[K, V] {
	return shelf[K, V]{
		order: order,
		find: func(k K) (V, bool) {
			kv, ok := tx.Peek(spell(k))
			if !ok {
				return *new(V), false
			}
			v, err := state.JSON[V](kv.Value)
			return v, err == nil
		},
		list: func() iter.Seq[K] {
			return func(yield func(K) bool) {
				for e := range t.All() {
					if !yield(key(e.Params)) {
						return
					}
				}
			}
		},
	}
}

func text(tx *state.Tx, spell func(int) string) func(int) (string, bool) {
	return func(port int) (string, bool) {
		kv, ok := tx.Peek(spell(port))
		return string(kv.Value), ok
	}
}

func textOf(params []string) string { return params[0] }

// epochOf reads the number in a key; one that is none is never asked for.
func epochOf(params []string) int {
	n, err := strconv.Atoi(params[0])
	if err != nil {
		return -1
	}
	return n
}

func letterOf(params []string) LetterID { return LetterID{Tx: params[0], DC: params[1]} }
