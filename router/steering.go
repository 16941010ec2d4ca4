package router

import (
	"context"
	"slices"
	"sync"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// leader is who takes the writes of an instance, as etcd has it. The zero leader
// is nobody.
type leader struct {
	member string
	// addr is the host:port of its PostgreSQL, api the URL of its Patroni.
	addr, api string
	// term is the leader key's revision. It changes when a member takes the key
	// anew, as after a restart, and not while it merely keeps it.
	term int64
	// sound is whether the member itself says that it is a running primary. That
	// may be old, or early; it serves as a hint only.
	sound bool
	// held says that new connections wait, whatever the member says. away says that
	// addr is of another site's routers: there is no Patroni to ask.
	held, away bool
}

func (l leader) nobody() bool { return l.member == "" }

// same reports whether a session to l is one to the other, too.
func (l leader) same(other leader) bool { return l.member == other.member && l.addr == other.addr }

// course is what the steering says of one instance: its public port and who
// leads it. Port 0: the instance is gone.
type course struct {
	instance string
	port     int
	leader   leader
	// limit is how many sessions the instance may have, 0 if its record does not say.
	limit int
	reads reads
}

// same reports whether two courses are alike.
func (c course) same(other course) bool {
	return c.instance == other.instance && c.port == other.port && c.leader == other.leader && c.limit == other.limit &&
		c.reads.port == other.reads.port && slices.Equal(c.reads.replicas, other.reads.replicas)
}

// reads is the read-only port of an instance, 0 if there is none, and the
// replicas that may serve it as far as etcd knows, or might if no operator had
// switched them off, by name.
type reads struct {
	port     int
	replicas []replica
}

// replica is a member that follows the leader.
type replica struct {
	Member string `json:"member"`
	Addr   string `json:"addr"`
	API    string `json:"api"`
	// Off is whether an operator has switched the replica or its backend off.
	Off bool `json:"off,omitempty"`
}

// steering is the reactor: it keeps the courses right and gives on those that
// changed. A Tick costs what changed, not what there is.
type steering struct {
	allocations *state.Table[int]
	leaders     *state.Table[string]
	members     *state.Table[patroni.Member]
	forwards    *state.Table[state.Forward]
	replicas    *replicas
	circuit     *circuit
	courses     map[string]course
	// table takes changed courses and has those that another router left.
	table *table
	// begun is whether the first courses, perhaps none, have been given.
	begun bool
}

func newSteering(schema *state.Schema, cfg Config, t *table) *steering {
	return &steering{
		allocations: state.Register(schema, state.AllocationPattern, state.Integer),
		leaders:     patroni.Leaders(schema),
		members:     patroni.Members(schema),
		forwards:    state.Register(schema, state.ForwardPattern, state.JSON[state.Forward]),
		replicas:    newReplicas(schema),
		circuit:     newCircuit(schema, cfg, t),
		courses:     map[string]course{},
		table:       t,
	}
}

// Tick looks at this router's switch, and computes the courses of the instances
// of which anything changed.
func (s *steering) Tick(context.Context, state.Tick) ([]state.Group, error) {
	ids := s.touched()
	if !s.begun {
		s.courses = s.table.begin()
		for id := range s.courses {
			ids[id] = struct{}{}
		}
	}
	s.circuit.follow()
	var changed []course
	for id := range ids {
		if c, ok := s.look(id); ok {
			changed = append(changed, c)
		}
	}
	if len(changed) > 0 || !s.begun {
		s.begun = true
		s.table.give(changed)
	}
	return nil, nil
}

// touched returns the instances whose course may have changed.
func (s *steering) touched() map[string]struct{} {
	ids := map[string]struct{}{}
	for params := range s.allocations.Changed() {
		ids[params[0]] = struct{}{}
	}
	for params := range s.leaders.Changed() {
		ids[params[0]] = struct{}{}
	}
	for params := range s.members.Changed() {
		ids[params[0]] = struct{}{}
	}
	for params := range s.forwards.Changed() {
		ids[params[0]] = struct{}{}
	}
	s.replicas.touched(ids)
	return ids
}

// look computes the course of an instance and whether it is another than before.
func (s *steering) look(id string) (course, bool) {
	before := s.courses[id]
	now := course{instance: id}
	if a, ok := s.allocations.Get(id); ok && a.Value > 0 && a.Value <= 65535 {
		now.port, now.leader = a.Value, s.leader(id, before.leader)
		now.limit, now.reads = s.replicas.look(id, now.leader.member, s.members)
		s.divert(&now)
	}
	if now.same(before) || now.port == 0 && before.port == 0 {
		return now, false
	}
	if now.port == 0 {
		delete(s.courses, id)
	} else {
		s.courses[id] = now
	}
	return now, true
}

// leader finds who leads an instance. A leader whose member key is missing or
// of no use stays where it was: the leader key alone says who leads.
func (s *steering) leader(id string, before leader) leader {
	key, ok := s.leaders.Get(id)
	if !ok {
		return leader{}
	}
	if member, ok := s.members.Get(id, key.Value); ok {
		if addr, err := member.Value.Addr(); err == nil {
			return leader{
				member: key.Value, addr: addr, api: member.Value.APIURL, term: key.ModRevision,
				sound: member.Value.IsPrimary() && member.Value.IsRunning(),
			}
		}
	}
	if before.member != key.Value {
		return leader{}
	}
	before.term = key.ModRevision
	return before
}

// divert has a course lead to another site, or hold new connections, if that is
// what is wanted.
func (s *steering) divert(c *course) {
	f, ok := s.forwards.Get(c.instance)
	switch {
	case ok && f.Value.To != "":
		c.leader = leader{member: "routers of another site", addr: f.Value.To, term: f.ModRevision, away: true}
		c.reads = reads{}
	case !c.leader.nobody():
		c.leader.held = ok && f.Value.Hold
	}
}

// orders carries courses to a plane: of each instance only the newest waits.
type orders struct {
	news chan struct{}

	// mu guards pending.
	mu      sync.Mutex
	pending map[string]course
}

func newOrders() *orders {
	return &orders{news: make(chan struct{}, 1), pending: map[string]course{}}
}

// give adds courses and does not block.
func (o *orders) give(courses []course) {
	o.mu.Lock()
	for _, c := range courses {
		o.pending[c.instance] = c
	}
	o.mu.Unlock()
	select {
	case o.news <- struct{}{}:
	default:
	}
}

// take returns what waits.
func (o *orders) take() map[string]course {
	o.mu.Lock()
	defer o.mu.Unlock()
	taken := o.pending
	o.pending = map[string]course{}
	return taken
}
