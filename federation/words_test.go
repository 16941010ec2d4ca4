package federation

import (
	"cmp"
	"errors"
	"testing"
	"time"
)

// steps runs steps at sites of the model by hand, with a network that only does
// what it is told.
type steps struct {
	t *testing.T
	*world
}

func newSteps(t *testing.T) *steps {
	t.Helper()
	w := &world{peace: true, tracing: true}
	for _, dc := range []string{"dc-0", "dc-1", "dc-2", "dc-3"} {
		w.sites = append(w.sites, newModelSite(dc, 0))
	}
	w.check = newChecker(w)
	t.Cleanup(func() {
		for _, p := range w.check.problems {
			t.Error(p)
		}
	})
	return &steps{t: t, world: w}
}

func add(dc string) Proposal { return Proposal{Kind: Add, Peers: []Peer{{DC: dc, Address: dc + ":1"}}} }

// begin makes a site the coordinator and returns what it wants to send.
func (s *steps) begin(dc string, p Proposal) (*Round, error) {
	var round *Round
	err := s.do(s.site(dc), "begin", func(site *Site) (err error) {
		round, err = site.Begin(s.fresh("tx"), p)
		return err
	})
	return round, err
}

// handle has a request answered.
func (s *steps) handle(req Request) (Reply, error) {
	var reply Reply
	err := s.do(s.site(req.To.DC), string(req.Verb), func(site *Site) (err error) {
		reply, err = site.Handle(req)
		return err
	})
	return reply, err
}

// gather has every request of the round answered.
func (s *steps) gather(r *Round) {
	for !r.Ready() && r.Err() == nil {
		for _, req := range r.Requests() {
			reply, err := s.handle(req)
			r.Answer(req.To.DC, reply, err)
		}
	}
}

// decide takes a proposal to its decision, which nobody is told of yet.
func (s *steps) decide(dc string, p Proposal) {
	s.t.Helper()
	r, err := s.begin(dc, p)
	if err != nil {
		s.t.Fatal(err)
	}
	s.gather(r)
	if err := s.do(s.site(dc), "decide", func(site *Site) error { return site.Decide(r) }); err != nil {
		s.t.Fatal(err)
	}
}

// tell delivers what a site has in its outbox.
func (s *steps) tell(dc string) {
	for _, req := range s.site(dc).open(s.now).Mail() {
		reply, err := s.handle(req)
		_ = s.do(s.site(dc), "delivered", func(site *Site) error { return site.Delivered(req, reply, err) })
	}
}

func (s *steps) wantErr(err error, want string) {
	s.t.Helper()
	if err == nil || err.Error() != want {
		s.t.Errorf("got %v, want %s", err, want)
	}
}

// What passes by itself is refused with when it does.
func TestWordsOfReviews(t *testing.T) {
	t.Parallel()
	s := newSteps(t)
	s.decide("dc-0", add("dc-1"))
	s.tell("dc-0")
	s.decide("dc-0", add("dc-2"))
	s.tell("dc-0")

	r, err := s.begin("dc-0", add("dc-3"))
	if err != nil {
		t.Fatal(err)
	}
	s.gather(r)
	s.sleep(18 * time.Second)
	_, err = s.begin("dc-3", add("dc-1"))
	s.wantErr(err, "dc-3 is invited by dc-0 (expires in 12s)")
	_, err = s.begin("dc-2", Proposal{Kind: Leave})
	s.wantErr(err, "dc-2 is in candidate-review for dc-3")
	for dc, want := range map[string]string{
		"dc-2": "port changes are refused while in candidate-review (dc-3, expires in 12s)",
		"dc-3": "port changes are refused while in invited (dc-0, expires in 12s)",
	} {
		site := s.site(dc).open(s.now)
		s.wantErr(permit(site.self, site.overlay, site.now), want)
	}
}

// Whoever is in a review takes part in no other, and takes no other decision.
func TestOneReviewAtATime(t *testing.T) {
	t.Parallel()
	s := newSteps(t)
	s.decide("dc-0", add("dc-1"))
	s.tell("dc-0")
	s.decide("dc-0", add("dc-2"))
	s.tell("dc-0")
	s.decide("dc-0", Proposal{Kind: Reserve, Instance: "one"})
	late := s.site("dc-0").open(s.now).Mail()[0]
	s.lapse(s.site("dc-1"))
	r, err := s.begin("dc-1", add("dc-3"))
	if err != nil {
		t.Fatal(err)
	}
	prepare := r.request(s.site("dc-2").self.Peer)
	_, err = s.handle(prepare)
	s.wantErr(err, "dc-2 is in candidate-review for instance one")
	if late.To.DC != "dc-1" {
		t.Fatalf("the first letter is to %s", late.To.DC)
	}
	_, err = s.handle(late)
	s.wantErr(err, "dc-1 is in candidate-review for dc-3")
	if _, err := s.handle(Request{Verb: Abort, Tx: "another", From: s.site("dc-1").self.Peer, To: s.site("dc-2").self.Peer}); err != nil || s.site("dc-2").overlay == nil {
		t.Errorf("the end of another transaction has ended the review (%v)", err)
	}
	s.lapse(s.site("dc-1"))
	if _, err := s.handle(late); err != nil {
		t.Errorf("after the lease the late decision is refused: %v", err)
	}
}

// A request that comes after a later one of the same reservation takes nothing
// back: the port that was agreed on last stays held.
func TestLateTry(t *testing.T) {
	t.Parallel()
	s := newSteps(t)
	s.decide("dc-0", add("dc-1"))
	s.tell("dc-0")
	dc1 := s.site("dc-1")
	dc1.next = 4
	r, err := s.begin("dc-0", Proposal{Kind: Reserve, Instance: "one"})
	if err != nil {
		t.Fatal(err)
	}
	first := r.Requests()[0]
	first.Proposal.Port = 5
	s.gather(r)
	if _, err := s.handle(first); err == nil {
		t.Error("a port of an earlier try is held again")
	}
	if got := dc1.ports[4]; got != holderOf("one") || dc1.ports[5] != "" {
		t.Errorf("port 4 is held by %q and port 5 by %q", got, dc1.ports[5])
	}
}

// sleep lets time pass and ends no lease.
func (s *steps) sleep(d time.Duration) { s.now += d }

// A member that has missed a decision, and one that is ahead, say so.
func TestWordsOfEpochs(t *testing.T) {
	t.Parallel()
	s := newSteps(t)
	s.decide("dc-0", add("dc-1"))
	s.tell("dc-0")
	s.decide("dc-0", add("dc-2"))
	s.tell("dc-0")
	s.decide("dc-0", Proposal{Kind: Reserve, Instance: "one"})
	s.lapse(s.site("dc-1"))
	s.lapse(s.site("dc-2"))
	r, err := s.begin("dc-1", Proposal{Kind: Reserve, Instance: "two"})
	if err != nil {
		t.Fatal(err)
	}
	s.gather(r)
	s.wantErr(r.Err(), "dc-0 is at epoch 3, request is for 2")
	if got := s.site("dc-1").ports[1]; got != holderOf("one") {
		t.Errorf("after the lease port 1 is held by %q: a late decision would double it", got)
	}
}

// Silence is told with what becomes of the candidate.
func TestWordsOfSilence(t *testing.T) {
	t.Parallel()
	s := newSteps(t)
	r, err := s.begin("dc-0", add("dc-1"))
	if err != nil {
		t.Fatal(err)
	}
	r.Answer("dc-1", Reply{}, errors.New("connection refused"))
	s.wantErr(r.Err(), "cannot reach dc-1: connection refused; dc-1 reverted to standalone")
	if len(r.Requests()) != 0 || r.Ready() {
		t.Error("a round that has failed goes on")
	}
}

// A round whose decision was not heard of can not be abandoned: nobody may be
// told that nothing comes of it.
func TestDecidedRoundIsNotAbandoned(t *testing.T) {
	t.Parallel()
	s := newSteps(t)
	r, err := s.begin("dc-0", add("dc-1"))
	if err != nil {
		t.Fatal(err)
	}
	s.gather(r)
	dc0 := s.site("dc-0")
	if err := s.do(dc0, "decide", func(site *Site) error { return site.Decide(r) }); err != nil {
		t.Fatal(err)
	}
	if err := s.do(dc0, "abandon", func(site *Site) error { return site.Abandon(r) }); !errors.Is(err, ErrDecided) {
		t.Errorf("got %v, want ErrDecided", err)
	}
	s.tell("dc-0")
	s.tell("dc-0")
	if got := s.site("dc-1").self.State; got != Member {
		t.Errorf("dc-1 is %s", got)
	}
}

// A decision is taken only from who may tell it, and only as it was made.
func TestForgedDecisions(t *testing.T) {
	t.Parallel()
	s := newSteps(t)
	s.decide("dc-0", add("dc-1"))
	s.tell("dc-0")
	s.decide("dc-0", Proposal{Kind: Reserve, Instance: "one"})
	honest := s.site("dc-0").open(s.now).Mail()[0]
	for name, forge := range map[string]func(*Request){
		"by a stranger":         func(r *Request) { r.From = Peer{DC: "dc-3", UUID: "dc-3-0"} },
		"by the site itself":    func(r *Request) { r.From = s.site("dc-1").self.Peer },
		"changed":               func(r *Request) { r.Entry.Proposal.Instance = "another" },
		"of another federation": func(r *Request) { r.Federation, r.Entry.Federation = "f", "f"; r.Entry = r.Entry.sealed() },
		"two epochs ahead":      func(r *Request) { r.Entry.Epoch++; r.Entry = r.Entry.sealed() },
	} {
		req := honest
		forge(&req)
		if _, err := s.handle(req); err == nil {
			t.Errorf("a decision %s is taken", name)
		}
	}
	if _, err := s.handle(honest); err != nil {
		t.Errorf("the decision itself is refused: %v", err)
	}
}

// Whoever does not show a site's join token does not learn its uuid, and without
// that nobody makes it a member.
func TestNobodyIsMadeAMember(t *testing.T) {
	t.Parallel()
	s := newSteps(t)
	stranger, victim := Peer{DC: "dc-9", UUID: "dc-9-0", Address: "dc-9:1"}, Peer{DC: "dc-1", Address: "dc-1:1"}
	for _, verb := range []Verb{Hello, Ask, Abort} {
		reply, err := s.handle(Request{Verb: verb, Tx: "t", From: stranger, To: victim, Federation: "f"})
		if err != nil {
			t.Fatal(err)
		}
		victim.UUID = cmp.Or(victim.UUID, reply.Peer.UUID)
	}
	e := Entry{Federation: "f", Epoch: 1, Tx: "t", Coordinator: "dc-9", Proposal: Proposal{Kind: Add, Peers: []Peer{victim}}, Members: []Peer{stranger, victim}}.sealed()
	for range 2 {
		_, err := s.handle(Request{Verb: Commit, Tx: "t", From: stranger, To: victim, Federation: "f", Candidate: true, Proposal: e.Proposal, Entry: e})
		s.wantErr(err, "dc-1 went elsewhere")
	}
	if got := s.site("dc-1").open(s.now).State(); got != Standalone {
		t.Errorf("dc-1 is %s", got)
	}
}

// When all ports have been handed out once, one is taken that is free at every
// site, the coordinator's own among them.
func TestPortsAreUsedAgain(t *testing.T) {
	t.Parallel()
	s := newSteps(t)
	s.decide("dc-0", add("dc-1"))
	s.tell("dc-0")
	for dc, taken := range map[string][]int{"dc-0": {1, 2, 4, 6}, "dc-1": {3, 5}} {
		m := s.site(dc)
		for _, port := range taken {
			m.ports[port] = "an instance"
		}
		m.next = modelPorts + 1
	}
	s.decide("dc-0", Proposal{Kind: Reserve, Instance: "one"})
	s.tell("dc-0")
	for _, dc := range []string{"dc-0", "dc-1"} {
		if got := s.site(dc).ports[7]; got != holderOf("one") {
			t.Errorf("%s: port 7 is held by %q", dc, got)
		}
	}
	for port := 1; port <= modelPorts; port++ {
		s.site("dc-0").ports[port] = "an instance"
	}
	_, err := s.begin("dc-0", Proposal{Kind: Reserve, Instance: "two"})
	s.wantErr(err, "no global port is left")
}

// What others send is refused or taken, never more.
func FuzzParseSite(f *testing.F) {
	f.Add("dc-1,192.168.0.99,9610")
	f.Add("a,[::1],1")
	f.Fuzz(func(t *testing.T, text string) {
		peer, err := ParseSite(text)
		if err != nil {
			return
		}
		if _, err := ParseName(peer.DC); err != nil {
			t.Errorf("%q: name %q is taken and refused", text, peer.DC)
		}
		if _, err := ParseAddress(peer.Address); err != nil {
			t.Errorf("%q: address %q is taken and refused", text, peer.Address)
		}
	})
}
