package broker_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/broker/admin"
	"github.com/pgpatron/pgpatron/federation"
	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// move begins a move of instance i to dc-1.
func (s *site) move(t *testing.T) {
	t.Helper()
	if _, err := operatorOf(t, s).Move(t.Context(), "i", "dc-1"); err != nil {
		t.Fatal(err)
	}
}

// moves waits until the last operation has ended, and returns it.
func (s *site) moves() state.Operation {
	s.t.Helper()
	s.poll("the move is over", func() bool { return !s.instance("i").Operation.Running() })
	return s.instance("i").Operation
}

// wantMoved checks that instance i is at b, with its port and its login, and that
// a leads there.
func wantMoved(t *testing.T, a, b *site, login binding) {
	t.Helper()
	if op := a.instance("i").Operation; op.State != state.Succeeded || a.instance("i").MovedTo != "dc-1" {
		t.Fatalf("move: %s: %s", op.State, op.Description)
	}
	if op := b.instance("i").Operation; op.State != state.Succeeded {
		t.Errorf("arrival: %s: %s", op.State, op.Description)
	}
	if c := b.cluster("i"); c.AllocatedPort != login.Credentials.Port || !c.Global || c.Follows != "" || len(c.Nodes) != 2 {
		t.Errorf("at dc-1: %+v", c)
	}
	if got := read[int](b, state.AllocationKey("i")); got != login.Credentials.Port {
		t.Errorf("the port at dc-1 is %d, want %d", got, login.Credentials.Port)
	}
	again := b.want(b.call("PUT", bindingPath("i", "b"), bindOrder(clusterPlan, nil)), http.StatusOK).bound(t)
	if again.Credentials.Password != login.Credentials.Password || again.Credentials.Username != login.Credentials.Username {
		t.Error("the login at dc-1 is another")
	}
	if got, want := read[state.Forward](a, state.ForwardKey("i")), "dc-1.example:30000"; got.To != want || got.Hold {
		t.Errorf("dc-0 leads to %+v, want %s", got, want)
	}
	if b.exists(state.ForwardKey("i")) || b.database.isFenced("i") {
		t.Error("dc-1 does not let everybody in")
	}
	if a.exists(state.ClusterKey("i")) || a.exists(state.BindingKey("i", "b")) || a.exists(state.ReadOnlyKey("i")) {
		t.Errorf("left at dc-0: %q", a.keys())
	}
	for _, switches := range []string{state.DatasourceKey("i", ""), state.SwitchedKey(state.ReplicaSwitchOf("i", ""))} {
		if n := a.keysUnder(switches); n > 0 {
			t.Errorf("dc-0 still has %d keys under %s", n, switches)
		}
	}
	for _, s := range []*site{a, b} {
		s.poll("nothing is left to be said", func() bool { return !s.exists(state.FederationMoveKey("i", state.MoveOwn)) })
		if s.exists(state.FederationMoveKey("i", state.MovePeer)) {
			t.Error("a note is left")
		}
	}
}

// TestInstanceMoves: an instance moves, the old site says where it is and leads
// there, until it is told to stop.
func TestInstanceMoves(t *testing.T) {
	a, b := newSisters(t)
	login := a.provisionGlobal("i")
	ops := operatorOf(t, a)
	_, err := ops.Move(t.Context(), "i", "dc-9")
	refused(t, err, http.StatusConflict, "dc-9 is not a member of federation")
	_, err = ops.Move(t.Context(), "i", "dc-0")
	refused(t, err, http.StatusConflict, "dc-0 is this datacenter")
	_, err = ops.StopForwarding(t.Context(), "i")
	refused(t, err, http.StatusConflict, "is not forwarded")
	for _, n := range a.cluster("i").Nodes {
		if n.NodeID != a.leader("i") {
			sw := state.ReplicaSwitchOf("i", n.NodeID)
			if _, err := ops.SwitchReplica(t.Context(), sw.Name, true, admin.Act{Force: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.move(t)
	_, err = ops.Move(t.Context(), "i", "dc-1")
	refused(t, err, http.StatusConflict, "is busy")
	a.moves()
	wantMoved(t, a, b, login)
	for _, s := range []*site{a, b} {
		if step := s.instance("i").Operation.Step; step != "travel" {
			t.Errorf("the journal was at step %q: a broker that knows of no moves would give up", step)
		}
	}

	for _, r := range []reply{
		a.call("PUT", bindingPath("i", "c"), bindOrder(clusterPlan, nil)),
		a.call("DELETE", bindingPath("i", "b")+ids(clusterPlan), nil),
		a.call("DELETE", instancePath("i")+ids(clusterPlan), nil),
		a.set("i", "node_count", 2),
	} {
		if a.want(r, http.StatusUnprocessableEntity); !strings.Contains(r.body, "has moved to dc-1: ask the broker there") {
			t.Errorf("of an instance that has moved: %s", r.body)
		}
	}
	if _, err := ops.StopForwarding(t.Context(), "i"); err != nil {
		t.Fatal(err)
	}
	if a.exists(state.InstanceKey("i")) || a.exists(state.ForwardKey("i")) || a.exists(state.AllocationKey("i")) {
		t.Errorf("left at dc-0: %q", a.keys())
	}
	a.wantGone(t, "forwarding to dc-1 ended")
	b.deprovision("i", clusterPlan)
}

// wantGone checks what the event log tells of the end of instance i.
func (s *site) wantGone(t *testing.T, text string) {
	t.Helper()
	s.poll("the log is told: "+text, func() bool { return s.logs(t, text) })
	if s.logs(t, "deprovision succeeded") {
		t.Error("the log tells of a deprovision")
	}
}

// logs reports whether a text stands in the event log of instance i.
func (s *site) logs(t *testing.T, text string) bool {
	t.Helper()
	events, err := operatorOf(t, s).Events(t.Context(), admin.EventFilter{Instance: "i"})
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(events, func(e admin.Event) bool { return e.Text == text })
}

// TestMoveCarriesNoSecretInTheOpen: what lies in etcd on the way is sealed.
func TestMoveCarriesNoSecretInTheOpen(t *testing.T) {
	a, b := newSisters(t)
	login := a.provisionGlobal("i")
	secrets := append(secretsOf(a, "i"), state.Secret(login.Credentials.Password))
	b.database.setDown(true)
	a.move(t)
	a.poll("dc-1 has the logins", func() bool { return b.note("i", state.MovePeer).LSN != 0 })
	for _, s := range []*site{a, b} {
		for _, side := range []string{state.MoveOwn, state.MovePeer} {
			resp, err := s.client.Get(t.Context(), state.FederationMoveKey("i", side))
			if err != nil || len(resp.Kvs) != 1 {
				t.Fatalf("note %s: %v", side, err)
			}
			for _, secret := range secrets {
				if strings.Contains(string(resp.Kvs[0].Value), secret.Reveal()) {
					t.Errorf("note %s holds a password", side)
				}
			}
		}
	}
	b.database.setDown(false)
	a.moves()
	wantMoved(t, a, b, login)
}

// TestMoveGoesOnAfterEveryDeath: the broker of one site dies after every single
// change of its journal, and the next one goes on from there.
func TestMoveGoesOnAfterEveryDeath(t *testing.T) {
	for _, dying := range []string{"dc-0", "dc-1"} {
		t.Run(dying, func(t *testing.T) {
			a, b := newSisters(t)
			login := a.provisionGlobal("i")
			s := map[string]*site{"dc-0": a, "dc-1": b}[dying]
			a.move(t)
			l := &lives{key: state.InstanceKey("i")}
			s.through = fixtures.EtcdTxns(t, s.client.Endpoints()[0], l.carry)
			deaths := 0
			for a.instance("i").Operation.Running() {
				s.stop()
				l.renew()
				s.start()
				deaths++
				s.poll("the journal goes on", func() bool { return l.over() || !a.instance("i").Operation.Running() })
			}
			if op := s.instance("i").Operation; deaths < 5 {
				t.Errorf("the broker died %d times in %s", deaths, op.Type)
			}
			wantMoved(t, a, b, login)
		})
	}
}

// wantStayed checks that instance i is at a as before, and nothing of it at b.
func wantStayed(t *testing.T, a, b *site, why string) {
	t.Helper()
	op := a.moves()
	if op.State != state.Failed || !strings.Contains(op.Description, why) || op.InstanceUsable == nil || !*op.InstanceUsable {
		t.Errorf("move: %s: %s, usable %v; want it to tell %q", op.State, op.Description, op.InstanceUsable, why)
	}
	if a.exists(state.ForwardKey("i")) || a.database.isFenced("i") {
		t.Error("dc-0 does not let everybody in")
	}
	a.poll("nothing is left at dc-1", func() bool {
		return !b.exists(state.InstanceKey("i")) && !b.exists(state.ClusterKey("i")) && !b.exists(state.ForwardKey("i")) &&
			!b.exists(state.ReadOnlyKey("i")) && !b.exists(state.AllocationKey("i"))
	})
	for _, s := range []*site{a, b} {
		s.poll("nothing is left to be said", func() bool {
			return !s.exists(state.FederationMoveKey("i", state.MoveOwn)) && !s.exists(state.FederationMoveKey("i", state.MovePeer))
		})
	}
	a.want(a.call("PUT", bindingPath("i", "later"), bindOrder(clusterPlan, nil)), http.StatusCreated)
}

// TestMoveIsRefused: the other site has no room, or knows no such plan.
func TestMoveIsRefused(t *testing.T) {
	a, b := newSisters(t)
	login := a.provisionGlobal("i")
	ops := operatorOf(t, b)
	for _, backend := range []string{"dc-1-h1", "dc-1-h2"} {
		if _, err := ops.Cordon(t.Context(), backend, true, admin.Act{}); err != nil {
			t.Fatal(err)
		}
	}
	a.move(t)
	wantStayed(t, a, b, "dc-1 refuses: not enough backends")
	for _, backend := range []string{"dc-1-h1", "dc-1-h2"} {
		if _, err := ops.Cordon(t.Context(), backend, false, admin.Act{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := operatorOf(t, a).Resume(t.Context(), "i"); err != nil {
		t.Fatal(err)
	}
	a.moves()
	wantMoved(t, a, b, login)
}

// TestMoveIsTakenBack: a move that is abandoned, at one step or another before it
// is decided, leaves everything as it was, also if the broker dies on the way.
func TestMoveIsTakenBack(t *testing.T) {
	for _, kind := range []state.StepKind{state.AskSite, state.OfferCopy, state.FreezeHome} {
		t.Run(string(kind), func(t *testing.T) {
			a, b := newSisters(t)
			a.provisionGlobal("i")
			switch kind {
			case state.AskSite:
				b.stop()
			case state.OfferCopy:
				b.nodes.Hold()
			case state.FreezeHome:
				a.database.set(func() { a.database.lsn = 1 << 50 })
			}
			a.move(t)
			a.poll("the move waits", func() bool {
				step, _ := a.instance("i").Operation.Current()
				return step.Kind == kind && (kind != state.FreezeHome || a.note("i", state.MoveOwn).Stage == state.MoveFrozen)
			})
			a.stop()
			a.start()
			if _, err := operatorOf(t, a).Abandon(t.Context(), "i"); err != nil {
				t.Fatal(err)
			}
			b.nodes.Release()
			if kind == state.AskSite {
				b.start()
			}
			wantStayed(t, a, b, "abandoned by an operator")
		})
	}
}

// TestCopyIsLevelOnEveryNode: a node that is behind could lead the copy a moment
// later. Until all have everything nothing is decided, and a leader that lacks
// something is not promoted.
func TestCopyIsLevelOnEveryNode(t *testing.T) {
	a, b := newSisters(t)
	login := a.provisionGlobal("i")
	a.database.setDown(true)
	a.database.set(func() { a.database.lsn = 1 << 40 })
	a.put(state.FederationOverlayKey(), reviewing)
	a.move(t)
	a.poll("the home is to be frozen", func() bool {
		step, _ := a.instance("i").Operation.Current()
		return step.Kind == state.FreezeHome
	})
	var replica state.Node
	for _, n := range b.cluster("i").Nodes {
		if n.NodeID != b.leader("i") {
			replica = n
		}
	}
	waits := func(kind state.StepKind) func() bool {
		return func() bool {
			op := b.instance("i").Operation
			step, _ := op.Current()
			return step.Kind == kind && strings.Contains(op.Description, replica.NodeID+" of the copy is")
		}
	}
	b.nodes.Slow(replica.BackendID, true)
	a.database.setDown(false)
	b.poll("the replica is waited for", waits(state.CatchUp))
	if stage := b.note("i", state.MoveOwn).Stage; stage != state.MoveFollowing {
		t.Errorf("the copy is %s while a node is behind", stage)
	}
	b.nodes.Slow(replica.BackendID, false)
	b.poll("the copy is level", func() bool { return b.note("i", state.MoveOwn).Stage == state.MoveLevel })

	b.nodes.Slow(replica.BackendID, true)
	b.nodes.Lead("i", replica.NodeID)
	b.poll("another leads the copy", func() bool { return b.leader("i") == replica.NodeID })
	if _, err := a.client.Delete(t.Context(), state.FederationOverlayKey()); err != nil {
		t.Fatal(err)
	}
	b.poll("the new leader is waited for", waits(state.PromoteCopy))
	if config := b.nodes.Config("i"); strings.Contains(config, "standby_cluster") {
		t.Errorf("who lacks something is promoted: %s", config)
	}
	b.nodes.Slow(replica.BackendID, false)
	a.moves()
	wantMoved(t, a, b, login)
}

// forgetsDead checks that what waits at a site for the removal of a node can not be
// abandoned while the backend is there, and ends when it is dead for good.
func (s *site) forgetsDead(t *testing.T, backend string) {
	t.Helper()
	ops := operatorOf(t, s)
	_, err := ops.Abandon(t.Context(), "i")
	refused(t, err, http.StatusConflict, "registrars of all nodes answer")
	s.nodes.Die(backend, true)
	s.poll("the backend is unreachable", func() bool {
		b, err := ops.Backend(t.Context(), backend)
		return err == nil && b.Status == state.BackendUnreachable
	})
	if _, err := ops.Abandon(t.Context(), "i"); err != nil {
		t.Fatal(err)
	}
}

// TestMoveLeavesADeadBackend: a host of the home never comes back.
func TestMoveLeavesADeadBackend(t *testing.T) {
	a, b := newSisters(t)
	login := a.provisionGlobal("i")
	a.nodes.Silence("dc-0-h2", true)
	a.move(t)
	a.poll("only that host's node is left", func() bool {
		return strings.Contains(a.instance("i").Operation.Description, "backend dc-0-h2 has not removed its node yet")
	})
	a.forgetsDead(t, "dc-0-h2")
	a.moves()
	wantMoved(t, a, b, login)
}

// TestArrivalLeavesADeadBackend: a host that the copy was to be on never comes
// back, and the move is abandoned.
func TestArrivalLeavesADeadBackend(t *testing.T) {
	a, b := newSisters(t)
	a.provisionGlobal("i")
	b.nodes.Silence("dc-1-h2", true)
	a.move(t)
	a.poll("the copy is being made", func() bool { return b.exists(state.InstanceKey("i")) })
	if _, err := operatorOf(t, a).Abandon(t.Context(), "i"); err != nil {
		t.Fatal(err)
	}
	b.poll("only that host's node is left", func() bool {
		return strings.Contains(b.instance("i").Operation.Description, "1 of 2 nodes removed")
	})
	b.forgetsDead(t, "dc-1-h2")
	wantStayed(t, a, b, "abandoned by an operator")
	b.wantGone(t, "arrival failed: dc-0 took the move back: abandoned by an operator")
}

// TestSilenceDecidesNothing: a copy of whose move nothing is known waits.
func TestSilenceDecidesNothing(t *testing.T) {
	t.Parallel()
	s := prepareSite(t, "b1")
	s.config.GlobalPorts = &federation.GlobalPorts{}
	s.start()
	s.awaitBackend()
	s.provision("i", singlePlan)
	for _, kind := range []state.StepKind{state.CatchUp, state.PromoteCopy} {
		s.become("i", state.Operation{
			ID: "o", Type: state.Arrival, State: state.InProgress, Site: "dc-0", Step: "travel", Plan: []state.Step{{Kind: kind, Text: "do it"}},
		})
		s.provision("z", singlePlan) // meanwhile the broker has looked
		s.deprovision("z", singlePlan)
		if op := s.instance("i").Operation; op.Done != 0 || !op.Running() || s.nodes.Config("i") != "null" {
			t.Errorf("%s: is now %+v, Patroni was told %s", kind, op, s.nodes.Config("i"))
		}
	}
}

// reviewing is a round of the federation that is under way for too long.
const reviewing = `{"kind":"candidate-review","tx":"t","coordinator":"dc-0","base_epoch":2,"expires":"2100-01-01T00:00:00Z","proposal":{"kind":"add","peers":[{"dc":"dc-3","address":"10.0.0.3:1"}]}}`

// TestMoveIsNotDecided: the federation is busy with something else, for too long.
func TestMoveIsNotDecided(t *testing.T) {
	a, b := newSisters(t)
	a.provisionGlobal("i")
	a.put(state.FederationOverlayKey(), reviewing)
	a.move(t)
	wantStayed(t, a, b, "dc-0 is in candidate-review for dc-3")
}
