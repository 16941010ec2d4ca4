package broker

import (
	"maps"
	"sync"

	"github.com/pgpatron/pgpatron/state"
)

// loads counts the nodes on each backend as clusters come, change and go, so
// that placing a node does not count those of every cluster.
type loads struct {
	// mu guards the rest: Ticks note, requests look.
	mu sync.Mutex
	of map[string][]state.Node
	on map[string]int
}

func newLoads() *loads { return &loads{of: map[string][]state.Node{}, on: map[string]int{}} }

// note takes in the nodes that a cluster has now; one that is gone has none.
func (l *loads) note(cluster string, nodes []state.Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.of[cluster] {
		l.on[n.BackendID]--
		if l.on[n.BackendID] == 0 {
			delete(l.on, n.BackendID)
		}
	}
	for _, n := range nodes {
		l.on[n.BackendID]++
	}
	l.of[cluster] = nodes
	if len(nodes) == 0 {
		delete(l.of, cluster)
	}
}

// counts returns how many nodes are on each backend, as of the last Tick.
func (l *loads) counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.on)
}
