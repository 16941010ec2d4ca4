package planner

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/state"
)

// TooFewBackends says how many backends a plan lacks.
type TooFewBackends struct {
	plan         string
	needed, free int
}

func (e TooFewBackends) Error() string {
	verb := "are"
	if e.free == 1 {
		verb = "is"
	}
	return fmt.Sprintf("not enough backends: plan %s needs %d, %d %s healthy", e.plan, e.needed, e.free, verb)
}

// Fleet is the backends as they are now.
type Fleet struct {
	Backends []state.Backend
	// Cordoned are those that an operator has switched off.
	Cordoned map[string]bool
	// Load counts the nodes that are placed on each.
	Load map[string]int
	// Share allows several nodes of an instance on one.
	Share bool
}

// fit returns the backends that may be given nodes.
func (f Fleet) fit() []state.Backend {
	return slices.DeleteFunc(slices.Clone(f.Backends), func(b state.Backend) bool { return !b.Healthy() || f.Cordoned[b.ID] })
}

// find returns a registered backend.
func (f Fleet) find(id string) (state.Backend, bool) {
	i := slices.IndexFunc(f.Backends, func(b state.Backend) bool { return b.ID == id })
	if i < 0 {
		return state.Backend{}, false
	}
	return f.Backends[i], true
}

// zone returns what a backend may fail together with; of one that is not
// registered nothing is known.
func (f Fleet) zone(id string) string {
	b, _ := f.find(id)
	return b.Zone
}

// crowd counts nodes by backend and by zone.
type crowd struct {
	fleet Fleet
	on    map[string]int
	in    map[string]int
}

// crowd counts the nodes on these backends.
func (f Fleet) crowd(backends []string) crowd {
	c := crowd{fleet: f, on: map[string]int{}, in: map[string]int{}}
	for _, id := range backends {
		c.add(id)
	}
	return c
}

func (c crowd) add(backend string) {
	c.on[backend]++
	c.in[c.fleet.zone(backend)]++
}

// place chooses backends for n more nodes of an instance that has some on
// taken already, and is to have none on avoided ones: never two on one, unless
// they may share; the zones with the fewest first, then the backends with the
// fewest nodes of anybody, ties by name. It returns fewer than n if there are
// not enough.
func (f Fleet) place(n int, taken, avoided []string) []string {
	c := f.crowd(taken)
	var chosen []string
	for range n {
		free := slices.DeleteFunc(f.fit(), func(b state.Backend) bool {
			return slices.Contains(avoided, b.ID) || c.on[b.ID] > 0 && !f.Share
		})
		if len(free) == 0 {
			return chosen
		}
		best := slices.MinFunc(free, func(a, b state.Backend) int {
			return cmp.Or(
				cmp.Compare(c.on[a.ID], c.on[b.ID]),
				cmp.Compare(c.in[a.Zone], c.in[b.Zone]),
				cmp.Compare(f.Load[a.ID], f.Load[b.ID]),
				cmp.Compare(a.ID, b.ID),
			)
		})
		c.add(best.ID)
		chosen = append(chosen, best.ID)
	}
	return chosen
}

// PlaceNew chooses backends for the nodes of a new instance: never two on one,
// unless they may share; the zones with the fewest first, then the backends with
// the fewest nodes of anybody. The error is a TooFewBackends.
func (f Fleet) PlaceNew(plan catalog.Plan, nodes int) ([]string, error) {
	chosen := f.place(nodes, nil, nil)
	if len(chosen) < nodes {
		return nil, TooFewBackends{plan: plan.Name, needed: nodes, free: len(f.fit())}
	}
	return chosen, nil
}
