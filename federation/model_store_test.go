package federation

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

// modelSite is a site of the model: its store in memory, and the process that
// may die.
type modelSite struct {
	name    string
	self    Self
	overlay *Overlay
	// lapses is when the overlay's lease ends.
	lapses time.Duration
	log    map[int]Entry
	outbox map[LetterID]Letter
	gips   map[int]GIP
	holds  map[string]Hold
	next   int
	ports  map[int]string
	// allocated are the ports of instances, running those that users have.
	allocated map[string]int
	running   map[string]int
	// ready says where instances may move to: what the site's broker consents to.
	ready map[string]string

	// down: the site is out of reach. skew is how far its clock is off.
	down  bool
	skew  time.Duration
	round *Round
	// aborts are still to be sent.
	aborts []Request
	// shelves is a Site over the maps above.
	shelves Site
}

func newModelSite(name string, skew time.Duration) *modelSite {
	m := &modelSite{
		name: name, skew: skew,
		self: Self{Peer: Peer{DC: name, UUID: name + "-0", Address: name + ":1"}, State: Standalone},
		log:  map[int]Entry{}, outbox: map[LetterID]Letter{}, gips: map[int]GIP{}, holds: map[string]Hold{},
		next: 1, ports: map[int]string{}, allocated: map[string]int{}, running: map[string]int{},
		ready: map[string]string{},
	}
	m.shelves = Site{
		log:    modelShelf(m.log, cmp.Compare[int]),
		outbox: modelShelf(m.outbox, byTxAndDC),
		gips:   modelShelf(m.gips, cmp.Compare[int]),
		holds:  modelShelf(m.holds, strings.Compare),
		local: ports{
			span:    state.Ports{First: 1, Last: modelPorts},
			holders: modelShelf(m.ports, cmp.Compare[int]), allocated: modelShelf(m.allocated, strings.Compare),
		},
		exists: func(instance string) bool { return m.running[instance] != 0 },
		pin:    func(string) {},

		consents: func(instance, site string) bool { return m.ready[instance] == site },
		ttl:      modelTTL,
	}
	return m
}

func modelShelf[K comparable, V any](m map[K]V, order func(a, b K) int) shelf[K, V] {
	return shelf[K, V]{
		find:  func(k K) (V, bool) { v, ok := m[k]; return v, ok },
		list:  func() iter.Seq[K] { return maps.Keys(m) },
		order: order,
	}
}

// open returns the site's records as a step finds them.
func (m *modelSite) open(now time.Duration) *Site {
	s := m.shelves
	s.self, s.overlay, s.local.next = m.self, m.overlay, m.next
	s.now = time.Unix(0, 0).Add(now + m.skew)
	return &s
}

// save takes over what a step has written.
func (m *modelSite) save(s *Site, now time.Duration) {
	if s.selfChanged {
		m.self = s.self
	}
	if s.overlayChanged {
		m.overlay, m.lapses = s.overlay, now+modelTTL
	}
	keep(m.log, &s.log)
	keep(m.outbox, &s.outbox)
	keep(m.gips, &s.gips)
	keep(m.holds, &s.holds)
	keep(m.ports, &s.local.holders)
	keep(m.allocated, &s.local.allocated)
	if s.local.moved {
		m.next = s.local.next
	}
}

func keep[K comparable, V any](m map[K]V, s *shelf[K, V]) {
	for k, v := range s.changes() {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = *v
		}
	}
}

// image is everything that a site's store holds, to be compared.
type image struct {
	self                                  string
	log, outbox, gips, holds, next, ports int
	holders                               string
}

func (m *modelSite) image() image {
	var holders strings.Builder
	for _, p := range slices.Sorted(maps.Keys(m.ports)) {
		holders.WriteString(m.ports[p] + ";")
	}
	return image{m.self.UUID + string(m.self.State) + m.self.Chain, len(m.log), len(m.outbox), len(m.gips), len(m.holds), m.next, len(m.ports), holders.String()}
}
