package deploy

import (
	"cmp"
	"slices"

	"github.com/pgpatron/pgpatron/registrar/registry"
)

// fleet is one deployment's instances, as they are and as they should be.
type fleet struct {
	deployment registry.Deployment
	// run is what every instance should run.
	run        registry.Run
	placements []registry.Placement
	// candidates are the nodes that can be given an instance, load how many
	// instances each has, of any deployment.
	candidates []registry.Node
	load       map[string]int
	zones      map[string]string
	// healthy says that a placement's instance answers, told that its node has
	// said anything of it, lost that its node is gone, misplaced that its node is
	// not where the deployment may be.
	healthy, told, lost, misplaced func(registry.Placement) bool
	newID                          func() string
}

// assign moves the placements one step towards what is wanted, as far as the
// strategy lets it now, and returns them. It is done when it changes nothing.
func (f *fleet) assign() []registry.Placement {
	f.placements = slices.Clone(f.placements)
	f.removeWhere(f.lost)
	if f.deployment.Strategy.Type == registry.Recreate && f.clearOld() {
		return f.placements
	}
	f.shrink()
	f.grow()
	if f.deployment.Strategy.Type != registry.Recreate && f.replace() {
		f.grow()
	}
	return f.placements
}

func (f *fleet) bounds() (unavailable, surge int) { return f.deployment.Bounds(f.run) }

// old reports whether a placement is to be replaced.
func (f *fleet) old(p registry.Placement) bool {
	return p.Run.Digest() != f.run.Digest() || f.misplaced(p)
}

func (f *fleet) count(selected func(registry.Placement) bool) int {
	n := 0
	for _, p := range f.placements {
		if !p.Removed && selected(p) {
			n++
		}
	}
	return n
}

func all(registry.Placement) bool { return true }

func (f *fleet) current(p registry.Placement) bool { return !f.old(p) }

// removeWhere marks the selected placements.
func (f *fleet) removeWhere(selected func(registry.Placement) bool) {
	for i, p := range f.placements {
		if !p.Removed && selected(p) {
			f.placements[i].Removed = true
		}
	}
}

// clearOld removes all that is old and reports whether any of it is still
// there.
func (f *fleet) clearOld() bool {
	f.removeWhere(f.old)
	return slices.ContainsFunc(f.placements, func(p registry.Placement) bool { return p.Removed && f.old(p) && !f.lost(p) })
}

// shrink removes what is too much even for the strategy, the least useful
// first.
func (f *fleet) shrink() {
	_, surge := f.bounds()
	excess := f.count(all) - f.deployment.Replicas - surge
	for _, i := range f.byUse() {
		if excess > 0 {
			f.placements[i].Removed = true
			excess--
		}
	}
	excess = f.count(f.current) - f.deployment.Replicas
	for _, i := range f.byUse() {
		if excess > 0 && f.current(f.placements[i]) {
			f.placements[i].Removed = true
			excess--
		}
	}
}

// byUse returns the indexes of the live placements, the least useful first: old
// before current ones, unhealthy before healthy ones, those that share a node,
// then the youngest.
func (f *fleet) byUse() []int {
	var order []int
	for i := len(f.placements) - 1; i >= 0; i-- {
		if !f.placements[i].Removed {
			order = append(order, i)
		}
	}
	rank := func(i int) int {
		p, rank := f.placements[i], 0
		if !f.old(p) {
			rank += 4
		}
		if f.healthy(p) {
			rank += 2
		}
		if !f.sharesNode(p) {
			rank++
		}
		return rank
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rank(a), rank(b)) })
	return order
}

func (f *fleet) sharesNode(p registry.Placement) bool {
	return f.count(func(o registry.Placement) bool { return o.Node == p.Node }) > 1
}

// grow adds instances of what is wanted, as many as the strategy and the nodes
// allow.
func (f *fleet) grow() {
	_, surge := f.bounds()
	for f.count(f.current) < f.deployment.Replicas && f.count(all) < f.deployment.Replicas+surge {
		node, found := f.pick()
		if !found {
			return
		}
		f.placements = append(f.placements, registry.Placement{ID: f.newID(), Node: node, Run: f.run})
		f.load[node]++
	}
}

// replace removes old instances that can be missed: those that are known not to
// answer, and as many as may be unavailable.
func (f *fleet) replace() (removed bool) {
	unavailable, _ := f.bounds()
	spare := f.count(f.healthy) - (f.reachable() - unavailable)
	for _, i := range f.byUse() {
		p := f.placements[i]
		if !f.old(p) || spare <= 0 && (f.healthy(p) || !f.told(p)) {
			continue
		}
		if f.healthy(p) {
			spare--
		}
		f.placements[i].Removed, removed = true, true
	}
	return removed
}

// reachable is how many instances there can be: Replicas, unless there are not
// that many nodes.
func (f *fleet) reachable() int {
	nodes := map[string]bool{}
	for _, n := range f.candidates {
		nodes[n.ID] = true
	}
	for _, p := range f.placements {
		if !p.Removed && f.current(p) {
			nodes[p.Node] = true
		}
	}
	return min(f.deployment.Replicas, len(nodes))
}

// pick returns the best node for another instance: one without any of this
// deployment, in the zone that has fewest of it, with the fewest instances. A
// node never has two instances of what is wanted; beside an old one there can
// be a new one, unless they need the same port.
func (f *fleet) pick() (string, bool) {
	here, zones := map[string]int{}, map[string]int{}
	for _, p := range f.placements {
		if !p.Removed {
			here[p.Node]++
			zones[f.zones[p.Node]]++
		}
	}
	free := slices.DeleteFunc(slices.Clone(f.candidates), func(n registry.Node) bool {
		return slices.ContainsFunc(f.placements, func(p registry.Placement) bool {
			return p.Node == n.ID && (!p.Removed && f.current(p) || clash(p.Run, f.run))
		})
	})
	if len(free) == 0 {
		return "", false
	}
	best := slices.MinFunc(free, func(a, b registry.Node) int {
		return cmp.Or(
			cmp.Compare(here[a.ID], here[b.ID]),
			cmp.Compare(zones[a.AvailabilityZone], zones[b.AvailabilityZone]),
			cmp.Compare(f.load[a.ID], f.load[b.ID]),
			cmp.Compare(a.ID, b.ID),
		)
	})
	return best.ID, true
}

// clash reports whether two runs can not be on one host at a time.
func clash(a, b registry.Run) bool {
	return slices.ContainsFunc(a.FixedPorts(), func(port int) bool { return slices.Contains(b.FixedPorts(), port) })
}
