package registrar_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/registrar"
	"github.com/pgpatron/pgpatron/state"
)

func (s *site) hostOf(id string) (state.Host, bool) {
	s.Helper()
	value, lease := s.value(state.HostKey(id))
	if value == "" {
		return state.Host{}, false
	}
	if lease != 0 {
		s.Error("what is kept of a host is not kept for good")
	}
	var h state.Host
	if err := json.Unmarshal([]byte(value), &h); err != nil {
		s.Fatal(err)
	}
	return h, true
}

func TestHostTellsWhatItHas(t *testing.T) {
	s := newSite(t)
	cfg := s.config()
	cfg.Zone, cfg.Labels = "rack-1", map[string]string{"disk": "ssd"}
	s.start(cfg, s.client)
	s.await("it is measured", func() bool { b := s.backend(); return b.Capacity.CPUs == 3 && b.Capacity.MemoryMB == 4096 })
	b := s.backend()
	if b.Zone != "rack-1" || b.Labels["disk"] != "ssd" || b.DockerVersion == "" {
		t.Errorf("backend = %+v", b)
	}
	if b.Capacity.DiskMB == 0 || b.Use.DiskMB == 0 || b.Use.DiskMB > b.Capacity.DiskMB || b.Use.MemoryMB == 0 || b.DiskPercent() == 0 {
		t.Errorf("use %+v of %+v", b.Use, b.Capacity)
	}
}

func TestHostThatIsGoneIsKnown(t *testing.T) {
	s := newSite(t)
	stop := s.run()
	s.await("it is measured", func() bool { return s.backend().Capacity.CPUs == 3 })
	h, there := s.hostOf(testBackend)
	if !there {
		t.Fatal("a host that is registered is not known")
	}
	began := time.Now()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s.await("it is not registered", func() bool { return s.backend().ID == "" })
	gone, there := s.hostOf(testBackend)
	if !there || gone.LastSeen.Before(began) || gone.Since != h.Since || gone.Capacity.CPUs != 3 {
		t.Errorf("host = %+v, seen last %v after it was stopped", gone, gone.LastSeen.Sub(began))
	}
}

// A host that gets another name is announced under that alone, and its
// containers are told it when they start.
func TestHostIsRenamed(t *testing.T) {
	s := newSite(t)
	s.record(cluster("db1", "n1"))
	stop := s.run()
	s.awaitPhase("n1", state.PhaseRunning)
	s.await("it is announced", func() bool { return s.announced("n1") != "" })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	cfg := s.config()
	cfg.Hostname = testHost + "-renamed"
	s.start(cfg, s.client)
	renamed := state.AnnouncementKey("postgresql-brokerpatroni", cfg.Hostname, "cf-n1", 5432)
	s.await("it is announced under the new name", func() bool { v, _ := s.value(renamed); return v == s.addr(0) })
	if got := s.announced("n1"); got != "" {
		t.Errorf("it is announced under the old name, too, at %s", got)
	}
	if n := s.starts("n1"); n != 1 {
		t.Errorf("its container was started %d times: it need not know", n)
	}
	s.docker.Kill("cf-n1")
	s.await("it was started again", func() bool { return s.starts("n1") == 2 })
	c, _ := s.docker.get("cf-n1")
	var file struct{ Hostname string }
	if err := json.Unmarshal([]byte(c.Files["/var/lib/postgresql/node.json"]), &file); err != nil || file.Hostname != cfg.Hostname {
		t.Errorf("node.json names host %q, want %s: %v", file.Hostname, cfg.Hostname, err)
	}
}

// The clock jumps while a node is in a crash loop: it does not rest for as long
// as the jump was.
func TestClockThatJumpsHoldsNothingUp(t *testing.T) {
	for _, test := range []struct {
		name string
		jump time.Duration
	}{{"ahead", time.Hour}, {"back", -time.Hour}} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			s.record(cluster("db1", "n1"))
			s.run()
			s.awaitPhase("n1", state.PhaseRunning)
			s.docker.setClock(test.jump)
			for n := 2; n <= 4; n++ {
				s.docker.Kill("cf-n1")
				s.await("it was started again", func() bool { return s.starts("n1") == n })
				s.await("it runs", func() bool { c, _ := s.docker.get("cf-n1"); return c.Running })
			}
			s.awaitPhase("n1", state.PhaseRunning)
			s.await("it is announced", func() bool { return s.announced("n1") != "" })
		})
	}
}

func TestDiskMarksAreChecked(t *testing.T) {
	cfg := registrar.Config{DiskWarn: 101, DiskReadOnly: 50}
	if err := cfg.Validate(); err == nil {
		t.Error("marks without sense are taken")
	}
}
