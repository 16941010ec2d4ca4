package registrar_test

import (
	"testing"

	"github.com/pgpatron/pgpatron/state"
)

// A record of a later version, or one that can not be read, stops nothing and
// removes nothing: nodes stay as the last record has asked that could be read.
func TestRecordThatIsTooNewLeavesNodesAlone(t *testing.T) {
	for name, later := range map[string]string{
		"says no nodes that are known": `{"version":2,"instance_id":"db1","members":["n1"]}`,
		"asks for the removal":         `{"version":2,"instance_id":"db1","nodes":[{"node_id":"n1","backend_id":"` + testBackend + `","removed":true}]}`,
		"can not be read":              `{"version":2,"nodes":{"n1":{}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.record(cluster("db1", "n1"))
			stop := s.run()
			s.awaitPhase("n1", state.PhaseRunning)
			gone := func() bool {
				c, here := s.docker.get("cf-n1")
				return !here || !c.Running
			}
			s.put(state.ClusterKey("db1"), later)
			s.record(cluster("db2", "n2"))
			s.awaitPhase("n2", state.PhaseRunning)
			s.never("the node is stopped", gone)

			s.docker.Kill("cf-n1")
			s.await("it is started again", func() bool { return !gone() })
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			s.run()
			s.record(cluster("db3", "n3"))
			s.awaitPhase("n3", state.PhaseRunning)
			s.never("the node is stopped by a registrar that has never read its record", gone)
			s.record(cluster("db1", "n1"))
			s.awaitPhase("n1", state.PhaseRunning)
		})
	}
}
