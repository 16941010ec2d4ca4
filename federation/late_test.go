package federation

import (
	"errors"
	"testing"
	"time"
)

// newMembers returns steps at sites of which the first so many are a federation.
func newMembers(t *testing.T, n int) *steps {
	t.Helper()
	s := newSteps(t)
	for _, m := range s.sites[1:n] {
		s.decide("dc-0", add(m.name))
		s.tell("dc-0")
	}
	return s
}

// letter returns what a site has in its outbox for another.
func (s *steps) letter(from, to string) Request {
	s.t.Helper()
	for _, req := range s.site(from).open(s.now).Mail() {
		if req.To.DC == to {
			return req
		}
	}
	s.t.Fatalf("%s has no letter to %s", from, to)
	return Request{}
}

// greet has a site ask another for news.
func (s *steps) greet(from, to string) {
	s.t.Helper()
	req := s.site(from).open(s.now).Greeting(s.site(to).self.Peer)
	reply, err := s.handle(req)
	if err := s.do(s.site(from), "greeted", func(site *Site) error { return site.Greeted(req, reply, err) }); err != nil {
		s.t.Fatal(err)
	}
}

// goes has a site leave and forget, once everybody knows.
func (s *steps) goes(dc string) {
	s.t.Helper()
	s.decide(dc, Proposal{Kind: Leave})
	s.tell(dc)
	if err := s.do(s.site(dc), "retire", func(site *Site) error { return site.Retire(s.fresh(dc)) }); err != nil {
		s.t.Fatal(err)
	}
	if got := s.site(dc).self.State; got != Standalone {
		s.t.Fatalf("%s is %s", dc, got)
	}
}

func evict(dcs ...string) Proposal {
	p := Proposal{Kind: Evict}
	for _, dc := range dcs {
		p.Peers = append(p.Peers, Peer{DC: dc})
	}
	return p
}

// Who has agreed to evict a site takes nothing from it any more, also when the
// lease is over: neither its decision, nor its request, nor its decision from
// another that is to be evicted with it.
func TestEvictedIsNotHeard(t *testing.T) {
	t.Parallel()
	s := newMembers(t, 4)
	s.decide("dc-2", Proposal{Kind: Reserve, Instance: "one"})
	late := s.letter("dc-2", "dc-1")
	if _, err := s.handle(s.letter("dc-2", "dc-3")); err != nil {
		t.Fatal(err)
	}
	s.lapse(s.site("dc-0"))
	s.lapse(s.site("dc-1"))
	s.decide("dc-0", evict("dc-2", "dc-3"))
	s.lapse(s.site("dc-1"))

	const refusal = "dc-1 has agreed at epoch 3 to evict dc-2, for dc-0"
	_, err := s.handle(late)
	s.wantErr(err, refusal)
	s.greet("dc-1", "dc-3")
	if got := s.site("dc-1").self.Epoch; got != 3 {
		t.Errorf("dc-1 followed who is evicted, to epoch %d", got)
	}
	prepare := Request{
		Verb: Prepare, Tx: "t", From: late.From, To: late.To, Federation: late.Federation, Base: 3, Chain: s.site("dc-1").self.Chain,
		Proposal: Proposal{Kind: Reserve, Instance: "two", Port: 1, Home: "dc-2"},
	}
	_, err = s.handle(prepare)
	s.wantErr(err, refusal)
	s.tell("dc-0")
	if got := s.site("dc-1").self; got.Epoch != 4 || len(got.Members) != 2 {
		t.Errorf("dc-1 is %+v", got)
	}
}

// Who has agreed to an eviction, and does not know what came of it, does not have
// the one evicted that asked for it, unless both go.
func TestWordIsKept(t *testing.T) {
	t.Parallel()
	s := newMembers(t, 3)
	r, err := s.begin("dc-0", evict("dc-2"))
	if err != nil {
		t.Fatal(err)
	}
	s.gather(r)
	s.lapse(s.site("dc-1"))
	_, err = s.begin("dc-1", evict("dc-0"))
	s.wantErr(err, "dc-1 has agreed at epoch 2 to evict dc-2, for dc-0: wait until that answers, or evict both")
	if _, err := s.begin("dc-1", evict("dc-0", "dc-2")); err != nil {
		t.Errorf("evicting both: %v", err)
	}
}

// A port stays held until it is known what became of it.
func TestDoubts(t *testing.T) {
	t.Parallel()
	s := newMembers(t, 3)
	member := s.site("dc-1")
	reserve := func(instance string) *Round {
		t.Helper()
		r, err := s.begin("dc-0", Proposal{Kind: Reserve, Instance: instance})
		if err != nil {
			t.Fatal(err)
		}
		s.gather(r)
		if len(member.open(s.now).Doubts()) != 0 {
			t.Error("there are doubts while the review goes on")
		}
		s.lapse(member)
		return r
	}
	ask := func(of string, want Outcome) {
		t.Helper()
		req := member.open(s.now).Doubts()[0]
		port := member.holds[req.Tx].Port
		req.To = s.site(of).self.Peer
		reply, err := s.handle(req)
		if err != nil || reply.Outcome != want {
			t.Errorf("%s says %s (%v), want %s", of, reply.Outcome, err, want)
		}
		_ = s.do(member, "resolved", func(site *Site) error { return site.Resolved(req, reply, err) })
		if held := member.ports[port] != ""; held != (want != Aborted) {
			t.Errorf("when %s has said %s, the port is held: %v", of, want, held)
		}
	}
	r := reserve("one")
	ask("dc-0", Pending)
	s.lapse(s.site("dc-2"))
	ask("dc-2", Unknown)
	if err := s.do(s.site("dc-0"), "decide", func(site *Site) error { return site.Decide(r) }); err != nil {
		t.Fatal(err)
	}
	ask("dc-0", Committed)
	s.tell("dc-0")

	r = reserve("two")
	if err := s.do(s.site("dc-0"), "abandon", func(site *Site) error { return site.Abandon(r) }); err != nil {
		t.Fatal(err)
	}
	ask("dc-0", Aborted)
}

// A coordinator decides nothing after its time.
func TestNothingIsDecidedLate(t *testing.T) {
	t.Parallel()
	s := newMembers(t, 2)
	r, err := s.begin("dc-0", Proposal{Kind: Reserve, Instance: "one"})
	if err != nil {
		t.Fatal(err)
	}
	s.gather(r)
	s.sleep(modelTTL + time.Second)
	s.wantErr(s.do(s.site("dc-0"), "decide", func(site *Site) error { return site.Decide(r) }), "the review ran out before everybody had agreed")
}

// A candidate that joined others meanwhile, and left them, is another site: the
// decision that comes late does not make it a member, and it is evicted.
func TestCandidateOfAnotherLife(t *testing.T) {
	t.Parallel()
	s := newMembers(t, 2)
	s.decide("dc-0", add("dc-3"))
	late := s.letter("dc-0", "dc-3")
	s.lapse(s.site("dc-3"))
	s.decide("dc-2", add("dc-3"))
	s.tell("dc-2")
	s.goes("dc-3")
	_, err := s.handle(late)
	s.wantErr(err, "dc-3 went elsewhere")
	_ = s.do(s.site("dc-0"), "delivered", func(site *Site) error { return site.Delivered(late, Reply{}, err) })
	if got := s.site("dc-0").open(s.now).Strays(); len(got) != 1 || !got[0].is(late.To) {
		t.Errorf("to be evicted are %+v", got)
	}
}

// A letter to a member that learned its news from another, and left, is done with.
func TestLetterToWhoHasLeft(t *testing.T) {
	t.Parallel()
	s := newMembers(t, 3)
	s.decide("dc-0", Proposal{Kind: Reserve, Instance: "one"})
	late := s.letter("dc-0", "dc-1")
	if _, err := s.handle(s.letter("dc-0", "dc-2")); err != nil {
		t.Fatal(err)
	}
	s.lapse(s.site("dc-1"))
	s.greet("dc-1", "dc-2")
	s.goes("dc-1")
	_, err := s.handle(late)
	if codeOf(err) != Gone {
		t.Errorf("got %v, want a refusal that says that it is gone", err)
	}
}

// Of several members that know a stray, the first evicts it.
func TestOneEvictsStrays(t *testing.T) {
	t.Parallel()
	s := newMembers(t, 3)
	stray := s.site("dc-2").self.Peer
	for _, dc := range []string{"dc-0", "dc-1"} {
		s.site(dc).outbox[LetterID{"t", "dc-2"}] = Letter{To: stray, Candidate: true, Elsewhere: "went elsewhere"}
	}
	if got := s.site("dc-0").open(s.now).Strays(); len(got) != 1 {
		t.Errorf("dc-0 is to evict %+v", got)
	}
	if got := s.site("dc-1").open(s.now).Strays(); len(got) != 0 {
		t.Errorf("dc-1, too, is to evict %+v", got)
	}
}

// A leaver whom others have evicted meanwhile waits for them no longer.
func TestLeaverThatWasEvicted(t *testing.T) {
	t.Parallel()
	s := newMembers(t, 2)
	s.decide("dc-1", Proposal{Kind: Leave})
	letter := s.letter("dc-1", "dc-0")
	for _, c := range []struct {
		err  error
		left int
	}{{errors.New("silent"), 1}, {refuse(Behind, "later"), 1}, {refuse(Fork, "another history"), 0}} {
		_ = s.do(s.site("dc-1"), "delivered", func(site *Site) error { return site.Delivered(letter, Reply{}, c.err) })
		if got := len(s.site("dc-1").outbox); got != c.left {
			t.Errorf("after %v, %d letters are left, want %d", c.err, got, c.left)
		}
	}
}
