package planner

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// newPlanner plans for a cluster with nodes on these backends, named n-<backend>,
// of which the first leads and the second is the synchronous standby. change
// says what is wanted.
func newPlanner(f Fleet, on string, change func(p *planner)) *planner {
	plan := catalog.DefaultPlans()[1].WithDefaults()
	c := state.Cluster{InstanceID: "i", AllocatedPort: 30000, NodeSpec: state.NodeSpec{Image: "image:1", MemoryMB: 512, MilliCPU: 1000}}
	for _, backend := range strings.Fields(on) {
		c.Nodes = append(c.Nodes, state.Node{NodeID: "n-" + backend, BackendID: backend})
	}
	c.Synchronous = len(c.Nodes) > 1
	made := 0
	p := &planner{Picture: Picture{Cluster: c, Leader: c.Nodes[0].NodeID, Fleet: f}, newID: func() string {
		made++
		return fmt.Sprintf("new-%d", made)
	}}
	if c.Synchronous {
		p.Sync = patroni.Sync{Leader: p.Leader, Standbys: []string{c.Nodes[1].NodeID}}
	}
	p.want = Target{Plan: plan, Nodes: len(c.Nodes), Synchronous: c.Synchronous, Spec: c.NodeSpec}
	change(p)
	return p
}

func (p *planner) texts(t *testing.T) []string {
	t.Helper()
	steps, err := p.plan()
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, s := range steps {
		texts = append(texts, s.Text)
	}
	return texts
}

func TestPlans(t *testing.T) {
	const write = "write through port 30000"
	for name, test := range map[string]struct {
		fleet  Fleet
		on     string
		change func(p *planner)
		want   []string
	}{
		"nothing": {newFleet("a"), "a", func(*planner) {}, nil},
		"a node more": {newFleet("a", "b", "c"), "a b", func(p *planner) { p.want.Nodes = 3 }, []string{
			"add the node on c", "wait until the node on c follows the leader and has caught up", write,
		}},
		"a node less is neither the leader nor its standby": {newFleet("a", "b", "c"), "a b c", func(p *planner) { p.want.Nodes = 2 }, []string{
			"remove the node on c", "wait until container and volume of the node on c are gone", write,
		}},
		"a node less is rather one on a bad backend": {newFleet("a", "sick", "c"), "a sick c", func(p *planner) { p.want.Nodes = 2 }, []string{
			"remove the node on sick", "wait until container and volume of the node on sick are gone", write,
		}},
		"from one node to two": {newFleet("a", "b"), "a", func(p *planner) { p.want.Nodes, p.want.Synchronous = 2, true }, []string{
			"add the node on b", "wait until the node on b follows the leader and has caught up", "let commits wait for a standby", write,
		}},
		"from two nodes to one": {newFleet("a", "b"), "a b", func(p *planner) { p.want.Nodes, p.want.Synchronous = 1, false }, []string{
			"let commits no longer wait for a standby", "remove the node on b", "wait until container and volume of the node on b are gone", write,
		}},
		"everything moves": {newFleet("a", "b", "c", "d"), "a b", func(p *planner) { p.want.Backends = []string{"c", "d"} }, []string{
			"add the node on c", "add the node on d",
			"wait until the node on c follows the leader and has caught up", "wait until the node on d follows the leader and has caught up",
			"remove the node on b", "wait until container and volume of the node on b are gone",
			"hand the leadership over from the node on a",
			"remove the node on a", "wait until container and volume of the node on a are gone", write,
		}},
		"the leader moves to one node alone": {newFleet("a", "b", "c"), "a b", func(p *planner) {
			p.want.Nodes, p.want.Synchronous, p.want.MoveOff = 1, false, "a"
		}, []string{
			"hand the leadership over from the node on a", "let commits no longer wait for a standby",
			"remove the node on a", "wait until container and volume of the node on a are gone", write,
		}},
		"more memory": {newFleet("a", "b"), "a b", func(p *planner) { p.want.Spec.MemoryMB, p.want.Spec.MilliCPU = 1024, 1500 }, []string{
			"restart the node on b with 1024 MiB of memory and 1.5 cores", "hand the leadership over from the node on a",
			"restart the node on a with 1024 MiB of memory and 1.5 cores", write,
		}},
		"another image of a node alone": {newFleet("a"), "a", func(p *planner) { p.want.Spec.Image = "image:2" }, []string{
			"restart the node on a with image image:2", write,
		}},
		"bigger and more nodes": {newFleet("a", "b", "c"), "a b", func(p *planner) { p.want.Nodes, p.want.Spec.MemoryMB = 3, 1024 }, []string{
			"add the node on c", "wait until the node on c follows the leader and has caught up",
			"restart the node on b with 1024 MiB of memory", "hand the leadership over from the node on a",
			"restart the node on a with 1024 MiB of memory", write,
		}},
		"a switchover": {newFleet("a", "b"), "a b", func(p *planner) { p.want.Switchover = true }, []string{
			"hand the leadership over from the node on a", write,
		}},
		"settings": {newFleet("a"), "a", func(p *planner) {
			p.Cluster.Settings = map[string]string{"jit": "off"}
			p.want.Settings = map[string]string{"work_mem": "8MB"}
		}, []string{"set jit to its default and work_mem to 8MB", write}},
		"more connections": {newFleet("a", "b"), "a b", func(p *planner) { p.want.Settings = map[string]string{"max_connections": "200"} }, []string{
			"set max_connections to 200", "restart PostgreSQL of the node on b", "hand the leadership over from the node on a",
			"restart PostgreSQL of the node on a", write,
		}},
		"fewer connections": {newFleet("a", "b"), "a b", func(p *planner) { p.want.Settings = map[string]string{"max_connections": "50"} }, []string{
			"set max_connections to 50", "restart PostgreSQL of the node on a", "restart PostgreSQL of the node on b", write,
		}},
		"fewer connections while the leader goes": {newFleet("a", "b", "c"), "a b", func(p *planner) {
			p.want.Settings, p.want.MoveOff = map[string]string{"max_connections": "50"}, "a"
		}, []string{
			"set max_connections to 50", "restart PostgreSQL of the node on a", "restart PostgreSQL of the node on b",
			"add the node on c", "wait until the node on c follows the leader and has caught up",
			"hand the leadership over from the node on a",
			"remove the node on a", "wait until container and volume of the node on a are gone", write,
		}},
		"extensions": {newFleet("a"), "a", func(p *planner) { p.want.Extensions = []string{"citext", "hstore", "pg_trgm"} }, []string{
			"make the database's extensions citext, hstore and pg_trgm", write,
		}},
		"commits wait no longer": {newFleet("a", "b"), "a b", func(p *planner) { p.want.Synchronous = false }, []string{
			"let commits no longer wait for a standby", write,
		}},
		"an unknown leader": {newFleet("a", "b"), "a b", func(p *planner) { p.Leader, p.want.Spec.Restarts = "", 1 }, []string{
			"restart the node on a", "restart the node on b", write,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, newPlanner(test.fleet, test.on, test.change).texts(t)); diff != "" {
				t.Errorf("plan differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSharedBackendsAreToldApart(t *testing.T) {
	f := newFleet("a")
	f.Share = true
	got := newPlanner(f, "a", func(p *planner) { p.want.Nodes = 2 }).texts(t)
	if got[0] != "add the node new-1 on a" {
		t.Errorf("got %q", got)
	}
}

// A node that still has to be removed keeps its backend from getting another.
func TestRemovedNodeStillTakesItsBackend(t *testing.T) {
	p := newPlanner(newFleet("a", "b", "c"), "a b", func(p *planner) { p.Cluster.Nodes[1].Removed = true })
	if got := p.texts(t); got[0] != "add the node on c" {
		t.Errorf("got %q", got)
	}
}

func TestRaiseAndLowerAtOnceIsRefused(t *testing.T) {
	p := newPlanner(newFleet("a"), "a", func(p *planner) {
		p.want.Plan.Settings = append(p.want.Plan.Settings, catalog.Setting{Name: "max_wal_senders", Type: "integer", Min: "5", Max: "20", Restart: true})
		p.want.Settings = map[string]string{"max_connections": "50", "max_wal_senders": "20"}
	})
	if _, err := p.plan(); err == nil || !strings.Contains(err.Error(), "raise max_wal_senders and lower max_connections in two updates") {
		t.Errorf("got %v", err)
	}
}
