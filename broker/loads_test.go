package broker

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgpatron/pgpatron/state"
)

// Whatever clusters do, the counts are those of counting them all.
func TestLoadsAreThoseOfCounting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLoads()
		clusters := map[string][]state.Node{}
		for range rapid.IntRange(1, 20).Draw(t, "changes") {
			id := fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "cluster"))
			var nodes []state.Node
			for range rapid.IntRange(0, 3).Draw(t, "nodes") {
				nodes = append(nodes, state.Node{BackendID: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "backend")})
			}
			clusters[id] = nodes
			l.note(id, nodes)
		}
		want := map[string]int{}
		for _, nodes := range clusters {
			for _, n := range nodes {
				want[n.BackendID]++
			}
		}
		if got := l.counts(); !maps.Equal(got, want) {
			t.Errorf("loads are %v, want %v", got, want)
		}
	})
}
