package registrar_test

import (
	"fmt"
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

// Three backends on one Docker Engine, at one address and with one range of
// ports, get their nodes in the same moment.
func TestBackendsOnOneDocker(t *testing.T) {
	s := newSite(t)
	var db state.Cluster
	ids := []string{"dev-1", "dev-2", "dev-3"}
	for n := range 3 {
		db = cluster(fmt.Sprintf("db%d", n))
		for _, id := range ids {
			db.Nodes = append(db.Nodes, state.Node{NodeID: fmt.Sprintf("n%d-%s", n, id), BackendID: id})
		}
		s.record(db)
	}
	for _, id := range ids {
		cfg := s.config()
		cfg.ID, cfg.Zone, cfg.Hostname = id, "zone-"+id, testHost+"-"+id

		s.start(cfg, s.client)
	}
	at := map[string]string{}
	for n := range 3 {
		for _, id := range ids {
			node := fmt.Sprintf("n%d-%s", n, id)
			s.awaitPhase(node, state.PhaseRunning)
			key := state.AnnouncementKey("postgresql-brokerpatroni", testHost+"-"+id, "cf-"+node, 5432)
			s.await(node+" is announced by its host", func() bool { v, _ := s.value(key); return v != "" })
			addr, _ := s.value(key)
			if other, taken := at[addr]; taken {
				t.Errorf("%s and %s are both at %s", node, other, addr)
			}
			at[addr] = node
			if got := s.status(node); got.BackendID != id {
				t.Errorf("%s is told of by %s", node, got.BackendID)
			}
		}
	}
	for _, id := range ids {
		if b := s.backendOf(id); b.ID != id || b.Address != testBackend || b.Zone != "zone-"+id || !b.Healthy() {
			t.Errorf("backend = %+v", b)
		}
	}
	s.record(removed(db))
	for _, n := range db.Nodes {
		s.awaitPhase(n.NodeID, state.PhaseRemoved)
	}
	for n := range 2 {
		for _, id := range ids {
			if c, _ := s.docker.get(fmt.Sprintf("cf-n%d-%s", n, id)); !c.Running {
				t.Errorf("%s does not run any more", c.Name)
			}
		}
	}
}
