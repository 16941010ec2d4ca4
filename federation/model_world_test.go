package federation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// modelTTL is how long overlays last, and modelPorts how many public ports each
// site has.
const (
	modelTTL   = 30 * time.Second
	modelPorts = 12
)

// packet is a message on its way: a request, or with reply set its answer.
type packet struct {
	req   Request
	reply *Reply
	err   error
}

// world is a handful of sites with a network and a clock that mean ill. What
// happens is drawn from rng: a seed is a schedule.
type world struct {
	rng    *rand.Rand
	now    time.Duration
	sites  []*modelSite
	net    []packet
	serial int
	check  *checker
	trace  []string
	// peace: there are no faults.
	peace bool
	// grim: sites go away often, and others go on without them.
	grim bool
	// tracing keeps the story, for a schedule that failed.
	tracing bool
}

func newWorld(seed uint64, tracing bool) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 7)), tracing: tracing}
	for i := range 3 + w.rng.IntN(2) {
		w.sites = append(w.sites, newModelSite(fmt.Sprintf("dc-%d", i), time.Duration(w.rng.IntN(1000))*time.Minute))
	}
	w.check = newChecker(w)
	w.grim = w.chance(30)
	return w
}

func (w *world) tell(format string, args ...any) {
	if w.tracing {
		w.trace = append(w.trace, fmt.Sprintf("%8v ", w.now)+fmt.Sprintf(format, args...))
	}
}

func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }

func (w *world) fresh(what string) string {
	w.serial++
	return fmt.Sprintf("%s-%d", what, w.serial)
}

func (w *world) site(dc string) *modelSite {
	i := slices.IndexFunc(w.sites, func(m *modelSite) bool { return m.name == dc })
	return w.sites[i]
}

// do runs a step at a site as one transaction.
func (w *world) do(m *modelSite, what string, step func(*Site) error) error {
	s := m.open(w.now)
	before := s.State()
	if err := step(s); err != nil {
		w.tell("%s: %s: refused: %v", m.name, what, err)
		return err
	}
	m.save(s, w.now)
	w.tell("%s: %s: %s epoch %d", m.name, what, s.State(), m.self.Epoch)
	w.check.step(m, before, what)
	return nil
}

// run plays a schedule of so many events, then lets the faults stop and the
// sites come to rest.
func (w *world) run(events int) {
	if w.chance(80) {
		w.found()
	}
	for range events {
		w.event()
		if w.check.failed() {
			return
		}
	}
	w.settle()
}

// found makes most of the sites a federation, with a global port, before
// anything goes wrong.
func (w *world) found() {
	w.peace = true
	defer func() { w.peace = false }()
	first := w.sites[0]
	for _, m := range w.sites[1 : len(w.sites)-w.rng.IntN(2)] {
		w.begin(first, Proposal{Kind: Add, Peers: []Peer{{DC: m.name, Address: m.name + ":1"}}})
		w.calm()
	}
	w.begin(first, Proposal{Kind: Reserve, Instance: w.fresh("gi")})
	w.calm()
}

// calm lets everything arrive and every process do what it has to.
func (w *world) calm() {
	for range 4 {
		for _, m := range w.sites {
			w.tick(m)
		}
		w.flush()
	}
}

// flush lets every message arrive, in order.
func (w *world) flush() {
	for len(w.net) > 0 && !w.check.failed() {
		p := w.net[0]
		w.net = w.net[1:]
		w.arrive(p)
	}
}

// event lets one thing happen.
func (w *world) event() {
	m := w.sites[w.rng.IntN(len(w.sites))]
	if w.grim && w.chance(4) {
		m.down, m.round, m.aborts = w.chance(60), nil, nil
		w.tell("%s: down %v", m.name, m.down)
		return
	}
	switch n := w.rng.IntN(100); {
	case n < 54:
		w.carry()
	case n < 78:
		w.tick(m)
	case n < 85:
		w.operate(m)
	case n < 90:
		w.local(m)
	case n < 95:
		w.pass(time.Duration(w.rng.IntN(8)) * time.Second)
	case n < 96:
		w.pass(modelTTL + time.Duration(w.rng.IntN(5))*time.Second)
	case n < 98:
		w.tell("%s: process dies", m.name)
		m.round, m.aborts = nil, nil
	default:
		m.down = !m.down && w.chance(70)
		m.round, m.aborts = nil, nil
		w.tell("%s: down %v", m.name, m.down)
	}
}

// pass lets time pass. A lease may end late, never early.
func (w *world) pass(d time.Duration) {
	w.now += d
	for _, m := range w.sites {
		if m.overlay != nil && w.now >= m.lapses && w.chance(70) {
			w.lapse(m)
		}
	}
}

func (w *world) lapse(m *modelSite) {
	before := m.open(w.now).State()
	m.overlay = nil
	w.tell("%s: overlay lapses", m.name)
	w.check.step(m, before, "lapse")
}

func (w *world) send(reqs ...Request) {
	for _, r := range reqs {
		w.net = append(w.net, packet{req: r})
	}
}

// carry takes any message out of the network: it is lost, doubled or arrives.
func (w *world) carry() {
	if len(w.net) == 0 {
		return
	}
	i := w.rng.IntN(len(w.net))
	p := w.net[i]
	switch {
	case w.chance(6):
		return // it arrives now and later again
	case w.chance(8):
		w.drop(i)
	default:
		w.drop(i)
		w.arrive(p)
	}
}

func (w *world) drop(i int) {
	last := len(w.net) - 1
	w.net[i] = w.net[last]
	w.net = w.net[:last]
}

// arrive hands a request to its site, or an answer back to whoever asked.
func (w *world) arrive(p packet) {
	if p.reply == nil {
		w.serve(p.req)
		return
	}
	m := w.site(p.req.From.DC)
	if m.down {
		return
	}
	take := func(step func(*Site, Request, Reply, error) error) {
		_ = w.do(m, "answer to "+string(p.req.Verb)+" from "+p.req.To.DC, func(s *Site) error { return step(s, p.req, *p.reply, p.err) })
	}
	switch p.req.Verb {
	case Prepare:
		if m.round != nil && m.round.tx == p.req.Tx {
			m.round.Answer(p.req.To.DC, *p.reply, p.err)
		}
	case Commit:
		take((*Site).Delivered)
	case Ask:
		take((*Site).Resolved)
	case Hello:
		take((*Site).Greeted)
	}
}

func (w *world) serve(req Request) {
	m := w.site(req.To.DC)
	if m.down {
		return
	}
	var reply Reply
	err := w.do(m, fmt.Sprintf("%s %s of %s from %s", req.Verb, req.Proposal.Kind, req.Tx, req.From.DC), func(s *Site) (err error) {
		reply, err = s.Handle(req)
		return err
	})
	w.net = append(w.net, packet{req: req, reply: &reply, err: err})
}

// tick is what a site's process does by itself.
func (w *world) tick(m *modelSite) {
	if m.down {
		return
	}
	w.send(m.aborts...)
	m.aborts = nil
	if m.round != nil {
		w.drive(m)
		return
	}
	s := m.open(w.now)
	w.send(s.Mail()...)
	w.send(s.Doubts()...)
	if strays := s.Strays(); len(strays) > 0 {
		w.begin(m, Proposal{Kind: Evict, Peers: strays})
	}
	if others := m.self.others(m.name); len(others) > 0 && m.self.State == Member && w.chance(15) {
		w.send(s.Greeting(others[w.rng.IntN(len(others))]))
	}
	if m.self.State == Leaving {
		_ = w.do(m, "retire", func(s *Site) error { return s.Retire(w.fresh(m.name)) })
	}
}

// drive takes a round on: it sends, gives up, decides or abandons.
func (w *world) drive(m *modelSite) {
	r := m.round
	if !w.peace && w.chance(5) {
		r.GiveUp()
	}
	switch {
	case r.Ready():
		err := w.do(m, "decide "+r.describe()+" "+r.tx, func(s *Site) error { return s.Decide(r) })
		if err == nil {
			m.round = nil
			return
		}
		w.abandon(m)
	case r.Err() != nil:
		w.abandon(m)
	default:
		w.send(r.Requests()...)
	}
}

func (w *world) abandon(m *modelSite) {
	r := m.round
	m.round = nil
	_ = w.do(m, "abandon "+r.tx, func(s *Site) error { return s.Abandon(r) })
	m.aborts = r.Aborts()
}

func (w *world) begin(m *modelSite, p Proposal) {
	var round *Round
	err := w.do(m, "begin "+string(p.Kind)+" "+p.subject(), func(s *Site) (err error) {
		round, err = s.Begin(w.fresh("tx"), p)
		return err
	})
	if err == nil {
		m.round = round
	}
}

// settle ends all faults and waits until nothing changes any more.
func (w *world) settle() {
	w.peace = true
	for _, m := range w.sites {
		m.down = false
	}
	for i := range 30 {
		before := w.check.decisions()
		for _, m := range w.sites {
			w.greetAll(m)
		}
		for range 4 {
			for _, m := range w.sites {
				w.tick(m)
			}
			w.flush()
		}
		w.now += modelTTL + time.Second
		for _, m := range w.sites {
			if m.overlay != nil && w.now >= m.lapses {
				w.lapse(m)
			}
		}
		// Who was put out by the last decision learns of it when he greets again.
		if i > 0 && w.check.atRest() && w.check.decisions() == before || w.check.failed() {
			break
		}
	}
	w.check.rest()
}

func (w *world) greetAll(m *modelSite) {
	s := m.open(w.now)
	for _, other := range m.self.others(m.name) {
		if m.self.State == Member {
			w.send(s.Greeting(other))
		}
	}
}
