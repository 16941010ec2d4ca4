package registrar_test

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/state"
)

func TestNodeIsCreatedAnnouncedAndRunning(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1")
	s.record(db)
	s.run()
	s.awaitPhase("n1", state.PhaseRunning)
	want := state.NodeStatus{
		ID: "n1", InstanceID: "db1", BackendID: testBackend, Phase: state.PhaseRunning, Spec: db.NodeSpec.Digest(),
	}
	if got := s.status("n1"); got != want {
		t.Errorf("status = %+v, want %+v", got, want)
	}
	s.await("its ports are announced", func() bool { return s.announced("n1") == s.addr(0) })
	if got, _ := s.value(announcement("n1", 8008)); got != s.addr(1) {
		t.Errorf("REST port is announced at %q, want %s", got, s.addr(1))
	}
	c, _ := s.docker.get("cf-n1")
	if got := c.Files["owner of node.json"]; got != "999:999 400" {
		t.Errorf("node.json has owner and mode %q, want 999:999 400", got)
	}
	if file := c.Files["/var/lib/postgresql/node.json"]; !strings.Contains(file, "secret-of-admin") || !strings.Contains(file, `"node_id":"n1"`) {
		t.Errorf("node.json = %s", file)
	}
	for label, want := range map[string]string{
		"pgpatron.site": "site-1", "pgpatron.host": testHost, "pgpatron.backend": testBackend,
		"pgpatron.cluster": "db1", "pgpatron.node": "n1",
	} {
		volume, _ := s.docker.volume("cf-n1")
		if c.Labels[label] != want || volume[label] != want {
			t.Errorf("label %s is %q on the container, %q on the volume, want %q", label, c.Labels[label], volume[label], want)
		}
	}
	if b := s.backend(); b.DockerVersion != "20.10.24" || b.PID != os.Getpid() || !b.Healthy() {
		t.Errorf("backend = %+v", b)
	}
}

func TestRemovedNodeIsGoneBeforeItIsSaidToBe(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1", "n2")
	s.record(db)
	s.run()
	s.awaitPhase("n1", state.PhaseRunning)
	s.awaitPhase("n2", state.PhaseRunning)
	s.record(removed(db))
	for _, n := range []string{"n1", "n2"} {
		s.awaitPhase(n, state.PhaseRemoved)
		if _, ok := s.docker.get("cf-" + n); ok {
			t.Errorf("container of %s is there, its status says removed", n)
		}
		if _, ok := s.docker.volume("cf-" + n); ok {
			t.Errorf("volume of %s is there, its status says removed", n)
		}
		s.await("it is not announced", func() bool { return s.announced(n) == "" })
	}
	s.delete(state.ClusterKey("db1"))
	s.await("no status is left", func() bool { return s.status("n1").ID == "" && s.status("n2").ID == "" })
}

func labels(site, backend, instance, node string) map[string]string {
	return map[string]string{
		"pgpatron.site": site, "pgpatron.backend": backend, "pgpatron.cluster": instance, "pgpatron.node": node,
		"pgpatron.port.5432": "21050", "pgpatron.port.8008": "21051",
	}
}

// A standby that leaves tells its leader; a cluster that goes as a whole need
// not wait for that.
func TestNodeThatLeavesALivingClusterIsStoppedFirst(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1", "n2")
	s.record(db)
	s.run()
	s.awaitSpec("n1", db.NodeSpec)
	s.awaitSpec("n2", db.NodeSpec)
	s.lead("n2")
	for _, step := range []struct {
		node int
		want []string
	}{
		{0, []string{"stop cf-n1", "die cf-n1", "remove cf-n1"}},
		{1, []string{"die cf-n2", "remove cf-n2"}},
	} {
		s.docker.forget()
		n := &db.Nodes[step.node]
		n.Removed = true
		s.record(db)
		s.await("the node is gone", func() bool { return s.status(n.NodeID).Phase == state.PhaseRemoved })
		got := slices.DeleteFunc(s.docker.history(), func(line string) bool { return strings.Contains(line, "volume") })
		if !slices.Equal(got, step.want) {
			t.Errorf("history = %q, want %q", got, step.want)
		}
	}
}

// A node that is to go leads, as when it was thought to be dead and the others
// died since: what only it has is not deleted.
func TestNewestDataOfALivingClusterStay(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1", "n2")
	db.Synchronous = true
	s.record(db)
	s.run()
	s.awaitPhase("n1", state.PhaseRunning)
	s.lead("n1")
	s.put(state.SyncKey("db1"), `{"leader":"n1","sync_standby":null}`)
	db.Nodes[0].Removed = true
	s.record(db)
	s.never("a leader whom nobody follows is stopped", func() bool { c, _ := s.docker.get("cf-n1"); return !c.Running })

	s.put(state.SyncKey("db1"), `{"leader":"n1","sync_standby":"n2"}`)
	s.await("it is stopped when another follows", func() bool { _, here := s.docker.get("cf-n1"); return !here })
	s.never("its volume goes while nobody else leads", func() bool { return s.status("n1").Phase == state.PhaseRemoved })
	s.lead("n2")
	s.await("it is gone when another leads", func() bool { return s.status("n1").Phase == state.PhaseRemoved })
}

func TestOnlyUnclaimedContainersOfOursAreRemoved(t *testing.T) {
	s := newSite(t)
	s.docker.put("cf-orphan", true, labels("site-1", testBackend, "gone", "orphan"))
	s.docker.put("cf-unborn", false, labels("site-1", testBackend, "gone", "unborn"))
	s.docker.put("cf-othersite", true, labels("site-2", testBackend, "gone", "othersite"))
	s.docker.put("cf-otherbackend", true, labels("site-1", "10.0.0.8", "gone", "otherbackend"))
	s.docker.put("cf-nolabels", true, map[string]string{})
	s.docker.put("cf-nocluster", true, labels("site-1", testBackend, "", "nocluster"))
	s.docker.put("cf-doubt", true, labels("site-1", testBackend, "doubt", "doubt"))
	s.put(state.ClusterKey("doubt"), "{not json")
	s.run()
	s.await("the orphans are gone", func() bool {
		_, orphan := s.docker.get("cf-orphan")
		_, unborn := s.docker.get("cf-unborn")
		_, volume := s.docker.volume("cf-unborn")
		return !orphan && !unborn && !volume
	})
	s.never("data that nobody asked to delete is gone", func() bool {
		_, volume := s.docker.volume("cf-orphan")
		return !volume
	})
	s.never("a container that is not an orphan of ours is gone", func() bool {
		for _, name := range []string{"othersite", "otherbackend", "nolabels", "nocluster", "doubt"} {
			c, container := s.docker.get("cf-" + name)
			_, volume := s.docker.volume("cf-" + name)
			if !container || !volume || !c.Running {
				return true
			}
		}
		return false
	})
}

// A record that comes back, as from a better backup, finds its data.
func TestKeptVolumeServesItsRecordAgain(t *testing.T) {
	s := newSite(t)
	s.docker.put("cf-n1", true, labels("site-1", testBackend, "db1", "n1"))
	s.run()
	s.await("the container is gone", func() bool { _, there := s.docker.get("cf-n1"); return !there })
	s.record(cluster("db1", "n1"))
	s.awaitPhase("n1", state.PhaseRunning)
	if got := s.announced("n1"); !strings.HasSuffix(got, ":21050") {
		t.Errorf("announced at %q, want the port that the volume's labels keep, 21050", got)
	}
}

func TestTwoSitesOnOneDockerDoNotSeeEachOther(t *testing.T) {
	one := newSite(t)
	two := one.neighbour()
	one.record(cluster("db1", "n1"))
	two.record(cluster("db2", "n2"))
	one.run()
	two.run()
	one.awaitPhase("n1", state.PhaseRunning)
	two.awaitPhase("n2", state.PhaseRunning)
	one.await("both are announced", func() bool { return one.announced("n1") != "" && two.announced("n2") != "" })
	if a, b := one.announced("n1"), two.announced("n2"); a == b {
		t.Errorf("both nodes are at %s", a)
	}
	if got := one.announced("n2"); got != "" {
		t.Errorf("site 1 announces the node of site 2 at %s", got)
	}
	two.record(removed(cluster("db2", "n2")))
	two.awaitPhase("n2", state.PhaseRemoved)
	if c, _ := one.docker.get("cf-n1"); !c.Running {
		t.Error("site 2 removed the container of site 1")
	}
}

func TestAnnouncementsAreExactlyWhatRuns(t *testing.T) {
	s := newSite(t)
	foreign := state.AnnouncementKey("postgresql-brokerpatroni", "otherhost", "cf-n9", 5432)
	s.put(foreign, "10.0.0.9:20000")
	s.put(announcement("stale", 5432), "127.0.0.1:20077")
	elsewhere := cluster("db2", "n2")
	elsewhere.Nodes[0].BackendID = "10.0.0.8"
	s.record(elsewhere)
	s.put(announcement("n2", 5432), "10.0.0.8:20000")
	s.record(cluster("db1", "n1"))
	s.run()
	right := func() bool {
		value, lease := s.value(announcement("n1", 5432))
		return value == s.addr(0) && lease != 0
	}
	s.await("the node is announced", right)
	s.await("the stale key is gone", func() bool { return s.announced("stale") == "" })

	_, lease := s.value(announcement("n1", 5432))
	if _, err := s.client.Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	s.await("it is announced again after the session is lost", func() bool {
		_, other := s.value(announcement("n1", 5432))
		return right() && other != lease
	})
	s.await("the backend is registered again", s.backendLeased)
	s.put(announcement("n1", 5432), s.addr(0))
	s.await("a plain put is repaired", right)
	s.put(announcement("n1", 5432), "nonsense")
	s.await("a wrong value is repaired", right)
	s.delete(announcement("n1", 5432))
	s.await("a deletion is repaired", right)
	s.put(announcement("n1", 9999), "127.0.0.1:1")
	s.await("a port that nobody publishes is withdrawn", func() bool { v, _ := s.value(announcement("n1", 9999)); return v == "" })
	if v, _ := s.value(foreign); v != "10.0.0.9:20000" {
		t.Errorf("the key of another host is %q now", v)
	}
	if v := s.announced("n2"); v != "10.0.0.8:20000" {
		t.Errorf("the key of another backend's node is %q now", v)
	}
}

func (s *site) backendLeased() bool {
	value, lease := s.value(state.BackendKey(testBackend))
	return value != "" && lease != 0
}

func TestEtcdOutage(t *testing.T) {
	s := newSite(t)
	link, through := s.behindLink()
	s.record(cluster("db1", "n1"))
	s.start(s.config(), through)
	s.await("the node is announced", func() bool { return s.announced("n1") != "" })
	link.Cut()
	s.await("the session has ended", func() bool { return s.announced("n1") == "" })
	s.record(cluster("db2", "n2"))
	if c, _ := s.docker.get("cf-n1"); !c.Running {
		t.Error("the node does not run: an absence of etcd must not end it")
	}
	link.Heal()
	s.await("both are announced", func() bool { return s.announced("n1") != "" && s.announced("n2") != "" })
	s.awaitPhase("n1", state.PhaseRunning)
}

func TestHostPortsAreDistinctAndStay(t *testing.T) {
	s := newSite(t)
	s.docker.put("cf-stranger", false, map[string]string{
		"pgpatron.site": "site-9", "pgpatron.port.5432": s.port(1), "pgpatron.port.8008": s.port(3),
	})
	db := cluster("db1", "n1", "n2", "n3", "n4", "n5")
	s.record(db)
	stop := s.run()
	for _, n := range db.Nodes {
		s.awaitPhase(n.NodeID, state.PhaseRunning)
	}
	ports := func() map[string]string {
		held := map[string]string{}
		for _, n := range db.Nodes {
			volume, _ := s.docker.volume("cf-" + n.NodeID)
			for _, label := range []string{"pgpatron.port.5432", "pgpatron.port.8008"} {
				if other, taken := held[volume[label]]; taken {
					t.Errorf("%s and %s both have port %s", n.NodeID, other, volume[label])
				}
				held[volume[label]] = n.NodeID + label
			}
		}
		return held
	}
	before := ports()
	if before[s.port(1)] != "" || before[s.port(3)] != "" {
		t.Error("a port of another site's node was given away")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// The container is lost, the volume is not.
	s.docker.mu.Lock()
	delete(s.docker.containers, "cf-n3")
	s.docker.mu.Unlock()
	s.run()
	s.await("n3 has a container again", func() bool { c, _ := s.docker.get("cf-n3"); return c.Running })
	for port, holder := range ports() {
		if before[port] != holder {
			t.Errorf("port %s is %s's now, was %s's", port, holder, before[port])
		}
	}
}

func TestPortInUseByAStrangerIsSkipped(t *testing.T) {
	s := newSite(t)
	listen(t, s.addr(0))
	s.record(cluster("db1", "n1"))
	s.run()
	s.await("the node is announced at the next port", func() bool { return s.announced("n1") == s.addr(1) })
}

func TestFailuresSayWhy(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*site)
		mend  func(*site)
		want  string
	}{
		{
			"image missing",
			func(s *site) { delete(s.docker.images, testImage) },
			func(s *site) { s.docker.images[testImage] = true },
			"image postgresql-brokerpatroni:0.1.0 is not on this host: build it with make image",
		},
		{
			"port taken",
			func(s *site) { s.docker.deaf = true },
			func(s *site) { s.docker.deaf = false },
			" is in use by something else",
		},
		{
			"container of another",
			func(s *site) { s.docker.containers["cf-n1"] = &fakeContainer{ID: "x", Name: "cf-n1"} },
			func(s *site) { delete(s.docker.containers, "cf-n1") },
			"container cf-n1 exists and belongs to somebody else",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			locked := func(change func(*site)) {
				s.docker.mu.Lock()
				defer s.docker.mu.Unlock()
				change(s)
			}
			locked(test.spoil)
			s.record(cluster("db1", "n1"))
			s.run()
			var details string // between two tries it is being created
			s.await("it fails and says "+test.want, func() bool {
				status := s.status("n1")
				details = status.Details
				return status.Phase == state.PhaseFailed && strings.Contains(details, test.want)
			})
			if strings.Contains(details, "secret") {
				t.Errorf("details = %q", details)
			}
			locked(test.mend)
			s.awaitPhase("n1", state.PhaseRunning)
		})
	}
}

func TestSecondRegistrarRefuses(t *testing.T) {
	s := newSite(t)
	other := state.Backend{ID: testBackend, Hostname: testHost, PID: os.Getppid(), Since: time.Now()}
	lease, err := s.client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	s.putJSON(state.BackendKey(testBackend), other)
	value, _ := s.value(state.BackendKey(testBackend))
	s.put(state.BackendKey(testBackend), value, clientv3.WithLease(lease.ID))
	s.record(cluster("db1", "n1"))
	cfg := s.config()
	cfg.SessionTTL = time.Second
	r, err := registrar.New(cfg, s.client)
	if err != nil {
		t.Fatal(err)
	}
	err = r.Run(t.Context())
	if want := "backend 127.0.0.1 is already registered by pid "; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Run = %v, want %q", err, want)
	}
	if h := s.docker.history(); len(h) > 0 {
		t.Errorf("the refused registrar did %q", h)
	}
	if after, _ := s.value(state.BackendKey(testBackend)); after != value {
		t.Errorf("the key of the first is %s now", after)
	}
}

func TestKeyOfADeadPredecessorIsTakenOver(t *testing.T) {
	s := newSite(t)
	lease, err := s.client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	gone := `{"id":"127.0.0.1","hostname":"` + testHost + `","pid":2147483600}`
	s.put(state.BackendKey(testBackend), gone, clientv3.WithLease(lease.ID))
	s.run()
	s.await("the backend is ours", func() bool { return s.backend().PID == os.Getpid() })
}

func TestTakenOverRegistrarEnds(t *testing.T) {
	s := newSite(t)
	r, err := registrar.New(s.config(), s.client)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- r.Run(t.Context()) }()
	s.await("the backend is registered", s.backendLeased)
	lease, err := s.client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	s.put(state.BackendKey(testBackend), `{"id":"127.0.0.1","hostname":"other","pid":812}`, clientv3.WithLease(lease.ID))
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "backend 127.0.0.1 is already registered by pid 812") {
			t.Errorf("Run = %v", err)
		}
	case <-time.After(fixtures.Patience):
		t.Fatal("it runs on beside the other")
	}
}

func TestCleanEndGivesKeysBackAndLeavesContainers(t *testing.T) {
	s := newSite(t)
	s.record(cluster("db1", "n1"))
	stop := s.run()
	s.await("the node is announced", func() bool { return s.announced("n1") != "" })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s.await("the keys are given back", func() bool { return s.announced("n1") == "" && s.backend().ID == "" && s.status("n1").ID == "" })
	before, _ := s.docker.get("cf-n1")
	if !before.Running {
		t.Error("the container does not run on")
	}
	s.run()
	s.await("the next one announces it", func() bool { return s.announced("n1") == s.addr(0) })
	s.awaitPhase("n1", state.PhaseRunning)
	if after, _ := s.docker.get("cf-n1"); after.ID != before.ID || !after.StartedAt.Equal(before.StartedAt) {
		t.Error("the running container was not adopted")
	}
}

// However often it is interrupted, what it had begun is finished by the next.
func TestInterruptedWorkIsCarriedOn(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1", "n2", "n3")
	s.record(db)
	for range 8 {
		stop := s.run()
		pause(t, rand.N(25*time.Millisecond))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	s.run()
	held := map[string]string{}
	for _, n := range db.Nodes {
		s.awaitPhase(n.NodeID, state.PhaseRunning)
		volume, _ := s.docker.volume(n.Container())
		if other, taken := held[volume["pgpatron.port.5432"]]; taken {
			t.Errorf("%s and %s have the same port", n.NodeID, other)
		}
		held[volume["pgpatron.port.5432"]] = n.NodeID
	}
}

func TestInterruptedRemovalIsCarriedOn(t *testing.T) {
	s := newSite(t)
	db := cluster("db1", "n1", "n2", "n3")
	s.record(db)
	stop := s.run()
	for _, n := range db.Nodes {
		s.awaitPhase(n.NodeID, state.PhaseRunning)
	}
	s.record(removed(db))
	for range 8 {
		pause(t, rand.N(10*time.Millisecond))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		stop = s.run()
	}
	for _, n := range db.Nodes {
		s.awaitPhase(n.NodeID, state.PhaseRemoved)
	}
	s.docker.mu.Lock()
	defer s.docker.mu.Unlock()
	if len(s.docker.containers)+len(s.docker.volumes) > 0 {
		t.Errorf("left: %v, %v", s.docker.containers, s.docker.volumes)
	}
}

// What happens while nobody listens is found by looking.
func TestDockerStreamBreak(t *testing.T) {
	s := newSite(t)
	s.record(cluster("db1", "n1"))
	s.run()
	s.await("the node is announced", func() bool { return s.announced("n1") != "" })
	s.docker.breakStreams()
	s.docker.Kill("cf-n1")
	s.await("it was started again", func() bool {
		return slices.Equal(s.docker.history(), []string{"create cf-n1", "start cf-n1", "die cf-n1", "start cf-n1"})
	})
	s.await("it is announced", func() bool { return s.announced("n1") != "" })
	s.awaitPhase("n1", state.PhaseRunning)
}

func TestDockerRestart(t *testing.T) {
	s := newSite(t)
	s.record(cluster("db1", "n1", "n2"))
	s.run()
	s.awaitPhase("n1", state.PhaseRunning)
	s.awaitPhase("n2", state.PhaseRunning)
	s.docker.Stop("cf-n1")
	s.await("the backend is not healthy", func() bool { return !s.backend().Healthy() })
	s.record(cluster("db2", "n3"))
	s.never("an announcement is withdrawn while nobody knows", func() bool { return s.announced("n1") == "" || s.announced("n2") == "" })
	s.docker.Start()
	s.await("the backend is healthy", func() bool { return s.backend().Healthy() })
	s.await("the dead node was started again", func() bool { c, _ := s.docker.get("cf-n1"); return c.Running })
	s.awaitPhase("n1", state.PhaseRunning)
	s.awaitPhase("n3", state.PhaseRunning)
	if c, _ := s.docker.get("cf-n2"); !c.Running {
		t.Error("the node that lived on was touched")
	}
}

// An engine that hangs proves nothing: what is in etcd stays as it is, and the
// death is dealt with when it is known.
func TestDockerHangs(t *testing.T) {
	s := newSite(t)
	s.record(cluster("db1", "n1"))
	s.run()
	s.await("the node is announced", func() bool { return s.announced("n1") != "" })
	s.lead("n1")
	s.docker.Hang()
	s.docker.Kill("cf-n1")
	s.await("the backend is not healthy", func() bool { return !s.backend().Healthy() })
	s.never("the key is touched while nobody knows", func() bool { return s.leader() != "n1" })
	s.await("the node is announced still", func() bool { return s.announced("n1") != "" })
	s.docker.Thaw()
	s.await("the dead leader was fenced and started again", func() bool { return s.leader() == "" && s.starts("n1") == 2 })
	s.awaitPhase("n1", state.PhaseRunning)
	s.await("the backend is healthy", func() bool { return s.backend().Healthy() })
}

func TestNoDockerAtStart(t *testing.T) {
	s := newSite(t)
	s.docker.Stop()
	s.record(cluster("db1", "n1"))
	s.run()
	s.await("the backend is registered", s.backendLeased)
	if s.backend().Healthy() {
		t.Error("the backend is healthy without Docker")
	}
	s.await("the node says what it waits for", func() bool {
		return s.status("n1").Details == "docker does not answer on "+testHost
	})
	s.docker.Start()
	s.awaitPhase("n1", state.PhaseRunning)
	s.await("the backend is healthy", func() bool { return s.backend().Healthy() })
}

func TestCheckDocker(t *testing.T) {
	d := newDockerd(t)
	version, gateway, err := registrar.CheckDocker(t.Context(), d.host())
	if err != nil || version != "20.10.24" || gateway.String() != "172.17.0.1" {
		t.Errorf("CheckDocker = %q, %v, %v", version, gateway, err)
	}
	_, _, err = registrar.CheckDocker(t.Context(), "unix:///nowhere/docker.sock")
	if err == nil || !strings.Contains(err.Error(), "docker is not reachable at unix:///nowhere/docker.sock") {
		t.Errorf("CheckDocker of nothing = %v", err)
	}
}
