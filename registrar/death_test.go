package registrar_test

import (
	"slices"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/state"
)

// lead puts the leader key of db1 as Patroni does.
func (s *site) lead(node string) {
	s.Helper()
	lease, err := s.client.Grant(s.Context(), 60)
	if err != nil {
		s.Fatal(err)
	}
	s.put(state.LeaderKey("db1"), node, clientv3.WithLease(lease.ID))
}

func (s *site) leader() string {
	s.Helper()
	value, _ := s.value(state.LeaderKey("db1"))
	return value
}

func (s *site) member(node, json string) { s.Helper(); s.put(state.MemberKey("db1", node), json) }

// starts counts how often a node's container was started.
func (s *site) starts(node string) int {
	n := 0
	for _, what := range s.docker.history() {
		if what == "start cf-"+node {
			n++
		}
	}
	return n
}

// pair runs a cluster of n1, which leads, and n2. Its registrar is patient.
func pair(t *testing.T, synchronous bool) *site {
	s := newSite(t)
	db := cluster("db1", "n1", "n2")
	db.Synchronous = synchronous
	s.record(db)
	s.start(registrar.Patient(s.config()), s.client)
	s.awaitPhase("n1", state.PhaseRunning)
	s.awaitPhase("n2", state.PhaseRunning)
	s.member("n1", `{"role":"primary","state":"running"}`)
	s.member("n2", `{"role":"replica","state":"running","replication_state":"streaming"}`)
	s.lead("n1")
	s.seen("n1")
	return s
}

func TestDeadLeaderWithAStandbyComesBackBehindIt(t *testing.T) {
	s := pair(t, false)
	s.docker.Kill("cf-n1")
	s.await("the dead leader's key is gone", func() bool { return s.leader() == "" })
	s.awaitPhase("n1", state.PhaseStopped)
	s.await("it is not announced", func() bool { return s.announced("n1") == "" })
	s.never("it is started before another leads", func() bool { return s.starts("n1") > 1 })
	s.lead("n2")
	s.never("it is started before the new leader says that it leads", func() bool { return s.starts("n1") > 1 })
	s.member("n2", `{"role":"primary","state":"running","checkpoint_after_promote":false}`)
	s.never("it is started before the new leader's checkpoint", func() bool { return s.starts("n1") > 1 })
	s.member("n2", `{"role":"primary","state":"running"}`)
	s.awaitPhase("n1", state.PhaseRunning)
	if got := s.leader(); got != "n2" {
		t.Errorf("leader = %q, want n2", got)
	}
}

func TestDeadLeaderWithoutAStandbyStartsAtOnce(t *testing.T) {
	s := newSite(t)
	s.record(cluster("db1", "n1"))
	s.start(registrar.Patient(s.config()), s.client)
	s.awaitPhase("n1", state.PhaseRunning)
	s.lead("n1")
	s.docker.Kill("cf-n1")
	s.await("it was started again", func() bool { return s.starts("n1") == 2 })
	if got := s.leader(); got != "" {
		t.Errorf("leader = %q: it was started before its key was gone", got)
	}
}

func TestSynchronousCandidatesAreThoseOfTheSyncKey(t *testing.T) {
	s := pair(t, true)
	s.put(state.SyncKey("db1"), `{"leader":"n1","sync_standby":"n2"}`)
	s.seen("n1")
	s.docker.Kill("cf-n1")
	s.await("the dead leader's key is gone", func() bool { return s.leader() == "" })
	s.never("it is started before its standby leads", func() bool { return s.starts("n1") > 1 })
	s.lead("n2")
	s.member("n2", `{"role":"primary","state":"running"}`)
	s.awaitPhase("n1", state.PhaseRunning)

	// Now n2 leads, and n1 follows, but not synchronously yet.
	s.member("n1", `{"role":"replica","state":"running"}`)
	s.put(state.SyncKey("db1"), `{"leader":"n2","sync_standby":null}`)
	s.seen("n2")
	s.docker.Kill("cf-n2")
	s.await("n2 was started again", func() bool { return s.starts("n2") == 2 })
}

func TestDeadReplicaStartsAtOnceAndTheLeaderStays(t *testing.T) {
	s := pair(t, false)
	s.docker.Kill("cf-n2")
	s.await("it was started again", func() bool { return s.starts("n2") == 2 })
	if got := s.leader(); got != "n1" {
		t.Errorf("leader = %q, want n1", got)
	}
}

// A member key outlives its member: a neighbour that is known to be dead, too,
// is no candidate.
func TestAllDeadStartAtOnce(t *testing.T) {
	s := pair(t, false)
	s.docker.Stop("cf-n1", "cf-n2")
	s.docker.Start()
	s.await("the leader was started again", func() bool { return s.starts("n1") == 2 })
	s.lead("n1")
	s.await("the replica was started again", func() bool { return s.starts("n2") == 2 })
}

func TestNodeThatIsToGoIsNotStartedAgain(t *testing.T) {
	s := pair(t, false)
	s.docker.Kill("cf-n1")
	s.await("the dead leader's key is gone", func() bool { return s.leader() == "" })
	s.record(removed(cluster("db1", "n1", "n2")))
	s.awaitPhase("n1", state.PhaseRemoved)
	if n := s.starts("n1"); n != 1 {
		t.Errorf("it was started %d times", n)
	}
}

func TestDeathWhileNobodyWatchedIsFencedFirst(t *testing.T) {
	s := newSite(t)
	s.record(cluster("db1", "n1"))
	stop := s.run()
	s.awaitPhase("n1", state.PhaseRunning)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s.lead("n1")
	s.docker.Kill("cf-n1")
	s.run()
	s.await("it was started again", func() bool { return s.starts("n1") == 2 })
	if got := s.leader(); got != "" {
		t.Errorf("leader = %q: it was started before its key was gone", got)
	}
}

func TestNothingIsStartedBeforeItsFenceIsSettled(t *testing.T) {
	s := newSite(t)
	link, through := s.behindLink()
	s.record(cluster("db1", "n1"))
	s.start(s.config(), through)
	s.awaitPhase("n1", state.PhaseRunning)
	s.lead("n1")
	link.Cut()
	s.docker.Kill("cf-n1")
	for range 5 {
		s.never("it is started while etcd is away", func() bool { return s.starts("n1") > 1 })
	}
	link.Heal()
	s.await("it was started again", func() bool { return s.starts("n1") == 2 })
	if got := s.leader(); got != "" {
		t.Errorf("leader = %q: it was started before its key was gone", got)
	}
}

func TestCrashLoopSlowsDown(t *testing.T) {
	s := newSite(t)
	s.record(cluster("db1", "n1"))
	s.run()
	for n := 1; n <= 2; n++ {
		s.await("it runs", func() bool { return s.starts("n1") == n })
		s.docker.Kill("cf-n1")
	}
	s.await("its status says so", func() bool {
		status := s.status("n1")
		return status.Phase == state.PhaseStopped && status.Details != "" && status.Details != "exit code 137"
	})
	s.never("it is started at once", func() bool { return s.starts("n1") > 2 })
	s.awaitPhase("n1", state.PhaseRunning)
	if h := s.docker.history(); !slices.Equal(h[len(h)-2:], []string{"die cf-n1", "start cf-n1"}) {
		t.Errorf("history = %q", h)
	}
}
