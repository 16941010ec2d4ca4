package broker

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pgpatron/pgpatron/state"
)

// errTooFewBackends says how many backends a plan lacks.
type errTooFewBackends struct {
	plan            string
	needed, healthy int
}

func (e errTooFewBackends) Error() string {
	verb := "are"
	if e.healthy == 1 {
		verb = "is"
	}
	return fmt.Sprintf("not enough backends: plan %s needs %d, %d %s healthy", e.plan, e.needed, e.healthy, verb)
}

// place chooses a backend for each node of a plan: those with the fewest nodes
// first, ties by name, no two nodes on one unless share allows it. load counts
// the nodes that each backend has already.
func place(plan Plan, backends []state.Backend, load map[string]int, share bool) ([]string, error) {
	healthy := slices.DeleteFunc(slices.Clone(backends), func(b state.Backend) bool { return !b.Healthy() })
	if len(healthy) == 0 || len(healthy) < plan.Nodes && !share {
		return nil, errTooFewBackends{plan: plan.Name, needed: plan.Nodes, healthy: len(healthy)}
	}
	placed := map[string]int{}
	var chosen []string
	for range plan.Nodes {
		best := slices.MinFunc(healthy, func(a, b state.Backend) int {
			return cmp.Or(
				cmp.Compare(placed[a.ID], placed[b.ID]),
				cmp.Compare(load[a.ID], load[b.ID]),
				cmp.Compare(a.ID, b.ID),
			)
		})
		placed[best.ID]++
		chosen = append(chosen, best.ID)
	}
	return chosen, nil
}
