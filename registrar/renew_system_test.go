//go:build system

package registrar_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

var streaming = regexp.MustCompile(`"replication_state":\s*"streaming"`)

// A real leader is made anew: its clean stop hands over, and it comes back as a
// replica with its data and under its address.
func TestLeaderIsMadeAnewOnDocker(t *testing.T) {
	e := newEngine(t)
	nodeImage := patroni.ImageName + ":" + patroni.ImageVersion()
	if _, err := e.ImageInspect(t.Context(), nodeImage); err != nil {
		t.Skipf("%v: build it with make image", err)
	}
	s := e.site(t)
	db := e.on(cluster("db1", "n1", "n2"), nodeImage)
	db.Synchronous = true
	s.record(db)
	other := func(node string) string { return map[string]string{"n1": "n2", "n2": "n1"}[node] }
	follows := func() bool {
		leader := s.leader()
		member, _ := s.value(state.MemberKey("db1", other(leader)))
		sync, _ := s.value(state.SyncKey("db1"))
		return leader != "" && streaming.MatchString(member) && regexp.MustCompile(`"sync_standby":\s*"`+other(leader)).MatchString(sync)
	}
	s.patiently("a replica follows", follows)
	for range 3 {
		old := s.leader()
		at := s.announced(old)
		began := time.Now()
		for i := range db.Nodes {
			if db.Nodes[i].NodeID == old {
				spec := db.SpecOf(db.Nodes[i])
				spec.Restarts++
				db.Nodes[i].Spec = &spec
			}
		}
		s.record(db)
		s.patiently("another leads", func() bool { return s.leader() == other(old) })
		led := time.Since(began)
		s.patiently("it runs as it should", func() bool {
			n, _ := db.Node(old)
			status := s.status(old)
			return status.Phase == state.PhaseRunning && status.Spec == db.SpecOf(n).Digest()
		})
		s.patiently("it follows", follows)
		t.Logf("another led after %v, the old one followed after %v", led, time.Since(began))
		if got := s.announced(old); got != at {
			t.Errorf("%s is at %s now, was at %s", old, got, at)
		}
	}
	s.record(removed(db))
	s.patiently("both are removed", func() bool {
		return s.status("n1").Phase == state.PhaseRemoved && s.status("n2").Phase == state.PhaseRemoved
	})
}
