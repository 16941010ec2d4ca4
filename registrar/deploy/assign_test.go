package deploy

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgpatron/pgpatron/registrar/registry"
)

// world is nodes and instances in memory: what assign decides on, and what
// hosts make of it.
type world struct {
	deployment registry.Deployment
	run        registry.Run
	placements []registry.Placement
	alive      map[string]bool
	healthy    map[string]bool
	made       int
}

func newWorld(nodes, replicas int, strategy registry.Strategy) *world {
	w := &world{
		deployment: registry.Deployment{ID: "web", Replicas: replicas, Strategy: strategy},
		run:        registry.Run{Image: "v1", Ports: []registry.Port{{Internal: 80}}},
		alive:      map[string]bool{}, healthy: map[string]bool{},
	}
	for i := range nodes {
		w.alive[fmt.Sprintf("n%d", i)] = true
	}
	return w
}

// assign lets the office decide once.
func (w *world) assign() {
	f := &fleet{
		deployment: w.deployment, run: w.run, placements: w.placements, load: map[string]int{}, zones: map[string]string{},
		healthy:   func(p registry.Placement) bool { return w.healthy[p.ID] },
		told:      func(p registry.Placement) bool { _, told := w.healthy[p.ID]; return told },
		lost:      func(p registry.Placement) bool { return !w.alive[p.Node] },
		misplaced: func(registry.Placement) bool { return false },
		newID:     func() string { w.made++; return fmt.Sprintf("web-%d", w.made) },
	}
	for node, alive := range w.alive {
		if alive {
			f.candidates = append(f.candidates, registry.Node{ID: node})
		}
	}
	w.placements = f.assign()
}

// start lets the host of the i-th placement start it.
func (w *world) start(i int) {
	if p := w.placements[i]; !p.Removed && w.alive[p.Node] {
		w.healthy[p.ID] = true
	}
}

// clear lets hosts remove what is to be removed.
func (w *world) clear() {
	var kept []registry.Placement
	for _, p := range w.placements {
		if !p.Removed || !w.alive[p.Node] {
			kept = append(kept, p)
		} else {
			delete(w.healthy, p.ID)
		}
	}
	w.placements = kept
}

// settle lets office and hosts go on until nothing changes.
func (w *world) settle() {
	for range 40 {
		w.assign()
		for i := range w.placements {
			w.start(i)
		}
		w.clear()
	}
}

func (w *world) live() (live []registry.Placement) {
	return registry.DeploymentRecord{Placements: w.placements}.Live()
}

func (w *world) answering() int {
	n := 0
	for _, p := range w.live() {
		if w.healthy[p.ID] && w.alive[p.Node] {
			n++
		}
	}
	return n
}

func (w *world) update() { w.run.Image += "+" }

// done checks that exactly the wanted instances are there, on nodes of their own.
func (w *world) done(t rapid.TB) {
	t.Helper()
	nodes := map[string]bool{}
	for _, p := range w.live() {
		if nodes[p.Node] || !w.alive[p.Node] || p.Run.Digest() != w.run.Digest() {
			t.Fatalf("placements are %+v, want one on each node that lives, of %s", w.placements, w.run.Image)
		}
		nodes[p.Node] = true
	}
	alive := 0
	for _, is := range w.alive {
		if is {
			alive++
		}
	}
	if want := min(w.deployment.Replicas, alive); len(nodes) != want {
		t.Fatalf("%d instances are live, want %d", len(nodes), want)
	}
}

func number(n int) *int { return &n }

// Whatever comes between, in whatever order: no more are missing than the
// strategy allows, no more are there, and at the end it is as it was wanted.
func TestAssignKeepsItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unavailable, surge := rapid.IntRange(0, 2).Draw(t, "unavailable"), rapid.IntRange(0, 2).Draw(t, "surge")
		if unavailable+surge == 0 {
			surge = 1
		}
		replicas := rapid.IntRange(1, 5).Draw(t, "replicas")
		w := newWorld(5, replicas, registry.Strategy{Type: registry.RollingUpdate, MaxUnavailable: &unavailable, MaxSurge: &surge})
		w.settle()
		w.done(t)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"assign", "assign", "start", "start", "clear", "update"}).Draw(t, "step") {
			case "assign":
				w.assign()
			case "start":
				if len(w.placements) > 0 {
					w.start(rapid.IntRange(0, len(w.placements)-1).Draw(t, "which"))
				}
			case "clear":
				w.clear()
			case "update":
				w.update()
			}
			if got := w.answering(); got < replicas-unavailable {
				t.Fatalf("%d of %d answer, and %d may be missing: %+v", got, replicas, unavailable, w.placements)
			}
			if got := len(w.live()); got > replicas+surge {
				t.Fatalf("%d are live of %d, and %d may be too many: %+v", got, replicas, surge, w.placements)
			}
		}
		w.settle()
		w.done(t)
	})
}

// Nodes come and go and the size changes: it ends as it was wanted last.
func TestAssignEndsAsWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		strategy := registry.Strategy{Type: rapid.SampledFrom([]registry.StrategyType{registry.RollingUpdate, registry.Recreate}).Draw(t, "strategy")}
		w := newWorld(4, 2, strategy)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			node := fmt.Sprintf("n%d", rapid.IntRange(0, 3).Draw(t, "node"))
			switch rapid.SampledFrom([]string{"assign", "hosts", "die", "come", "size", "update"}).Draw(t, "step") {
			case "assign":
				w.assign()
			case "hosts":
				for i := range w.placements {
					w.start(i)
				}
				w.clear()
			case "die":
				w.alive[node] = false
			case "come":
				w.alive[node] = true
			case "size":
				w.deployment.Replicas = rapid.IntRange(0, 5).Draw(t, "replicas")
			case "update":
				w.update()
			}
		}
		w.settle()
		w.done(t)
	})
}

func TestRecreateRemovesAllBeforeItMakesAny(t *testing.T) {
	w := newWorld(3, 3, registry.Strategy{Type: registry.Recreate})
	w.settle()
	w.update()
	w.assign()
	if len(w.live()) != 0 || len(w.placements) != 3 {
		t.Fatalf("placements are %+v, want three that are removed", w.placements)
	}
	w.assign()
	if len(w.placements) != 3 {
		t.Fatalf("placements are %+v while the old ones are still there", w.placements)
	}
	w.clear()
	w.assign()
	w.done(t)
}

// Two that need one host port are never on a node together, not even while one
// is being removed.
func TestFixedPortsWaitForTheirNode(t *testing.T) {
	w := newWorld(2, 2, registry.Strategy{Type: registry.RollingUpdate, MaxUnavailable: number(1)})
	w.run.Ports[0].Host = 8080
	w.settle()
	w.update()
	for range 50 {
		w.assign()
		nodes := map[string]int{}
		for _, p := range w.placements {
			if nodes[p.Node]++; nodes[p.Node] > 1 {
				t.Fatalf("placements are %+v, two on node %s", w.placements, p.Node)
			}
		}
		for i := range w.placements {
			w.start(i)
		}
		w.clear()
	}
	w.done(t)
}

// What nobody has said anything of may be well: an update leaves it alone.
func TestUpdateDoesNotTakeSilenceForDeath(t *testing.T) {
	w := newWorld(3, 3, registry.Strategy{Type: registry.RollingUpdate, MaxUnavailable: number(1)})
	w.settle()
	w.update()
	clear(w.healthy)
	w.assign()
	if got := len(w.live()); got != 3 {
		t.Errorf("%d are live, want all three", got)
	}
}

func TestInstancesAreSpread(t *testing.T) {
	f := &fleet{
		deployment: registry.Deployment{ID: "web", Replicas: 2, Strategy: registry.Strategy{Type: registry.RollingUpdate}},
		candidates: []registry.Node{{ID: "a", AvailabilityZone: "z1"}, {ID: "b", AvailabilityZone: "z1"}, {ID: "c", AvailabilityZone: "z2"}, {ID: "d", AvailabilityZone: "z2"}},
		zones:      map[string]string{"a": "z1", "b": "z1", "c": "z2", "d": "z2"},
		load:       map[string]int{"a": 3, "c": 1},
	}
	never := func(registry.Placement) bool { return false }
	f.healthy, f.told, f.lost, f.misplaced = never, never, never, never
	f.newID = func() string { return "x" }
	var nodes []string
	for _, p := range f.assign() {
		nodes = append(nodes, p.Node)
	}
	if got := fmt.Sprint(nodes); got != "[b d]" {
		t.Errorf("instances are on %s, want the least loaded node of each zone: b and d", got)
	}
}
