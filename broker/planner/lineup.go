package planner

import (
	"cmp"
	"slices"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/broker/internal/words"
	"github.com/pgpatron/pgpatron/state"
)

// lineup is which nodes of a cluster stay, leave and join, the leader last
// wherever it is.
type lineup struct {
	stay, leave, join []state.Node
}

// line decides the lineup.
func (p *planner) line() error {
	if len(p.want.Backends) > 0 {
		return p.lineExactly()
	}
	if err := p.knowMoveOff(); err != nil {
		return err
	}
	for _, n := range p.current() {
		if n.BackendID == p.want.MoveOff {
			p.leave = append(p.leave, n)
		} else {
			p.stay = append(p.stay, n)
		}
	}
	for len(p.stay) > p.want.Nodes {
		p.dismiss()
	}
	return p.recruit(p.want.Nodes - len(p.stay))
}

// Staying returns the nodes of a cluster that nobody has asked to remove.
func Staying(c state.Cluster) []state.Node {
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(n state.Node) bool { return n.Removed })
}

// current returns the nodes that nobody has asked to remove, the leader last.
func (p *planner) current() []state.Node {
	nodes := Staying(p.Cluster)
	slices.SortStableFunc(nodes, func(a, b state.Node) int {
		return compareBool(a.NodeID == p.Leader, b.NodeID == p.Leader)
	})
	return nodes
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// knowMoveOff refuses the name of a backend that nobody has heard of.
func (p *planner) knowMoveOff() error {
	id := p.want.MoveOff
	_, registered := p.Fleet.find(id)
	used := slices.ContainsFunc(p.Cluster.Nodes, func(n state.Node) bool { return n.BackendID == id })
	if id != "" && !registered && !used {
		return catalog.Refuse("parameter move_off: there is no backend %q", id)
	}
	return nil
}

// lineExactly has one node on each of the wanted backends and none elsewhere.
func (p *planner) lineExactly() error {
	if len(p.want.Backends) != p.want.Nodes {
		return catalog.Refuse("parameter backends: names %d, and the instance is to have %d nodes; change node_count, too", len(p.want.Backends), p.want.Nodes)
	}
	if slices.Contains(p.want.Backends, p.want.MoveOff) {
		return catalog.Refuse("parameter move_off: parameter backends wants %q", p.want.MoveOff)
	}
	current := p.current()
	wanted := map[string]bool{}
	for _, id := range p.want.Backends {
		wanted[id] = true
	}
	// The leader is the last, and stays rather than another on its backend.
	for _, n := range slices.Backward(current) {
		if wanted[n.BackendID] {
			p.stay = append(p.stay, n)
			delete(wanted, n.BackendID)
		} else {
			p.leave = append(p.leave, n)
		}
	}
	slices.Reverse(p.stay)
	slices.Reverse(p.leave)
	for _, id := range p.want.Backends {
		if !wanted[id] {
			continue
		}
		if err := p.Fleet.refuse(id); err != nil {
			return err
		}
		if slices.Contains(p.leftAt(), id) {
			return catalog.Refuse("parameter backends: a node of the instance on %q is still being removed", id)
		}
		p.enlist(id)
	}
	return nil
}

// refuse says why a backend can not be given a node, if so.
func (f Fleet) refuse(id string) error {
	b, registered := f.find(id)
	switch {
	case !registered:
		return catalog.Refuse("parameter backends: there is no backend %q", id)
	case !b.Healthy():
		return catalog.Refuse("parameter backends: the Docker Engine of %q does not answer", id)
	case f.Cordoned[id]:
		return catalog.Refuse("parameter backends: %q is cordoned", id)
	}
	return nil
}

// dismiss moves the node that is missed least from those that stay to those
// that leave: one whose backend is no good, not the leader, not the standby
// that has every commit, one of many in its zone, one on a full backend.
func (p *planner) dismiss() {
	var backends []string
	for _, n := range p.stay {
		backends = append(backends, n.BackendID)
	}
	crowd := p.Fleet.crowd(backends)
	fit := p.Fleet.fit()
	good := func(n state.Node) bool {
		return slices.ContainsFunc(fit, func(b state.Backend) bool { return b.ID == n.BackendID })
	}
	first := slices.MinFunc(p.stay, func(a, b state.Node) int {
		return cmp.Or(
			compareBool(a.NodeID == p.Leader, b.NodeID == p.Leader),
			compareBool(good(a), good(b)),
			compareBool(p.Sync.Names(a.NodeID), p.Sync.Names(b.NodeID)),
			cmp.Compare(crowd.on[b.BackendID], crowd.on[a.BackendID]),
			cmp.Compare(crowd.in[p.Fleet.zone(b.BackendID)], crowd.in[p.Fleet.zone(a.BackendID)]),
			cmp.Compare(p.Fleet.Load[b.BackendID], p.Fleet.Load[a.BackendID]),
		)
	})
	p.stay = slices.DeleteFunc(p.stay, func(n state.Node) bool { return n.NodeID == first.NodeID })
	p.leave = slices.Insert(p.leave, 0, first)
}

// recruit places n new nodes.
func (p *planner) recruit(n int) error {
	var taken []string
	for _, node := range p.stay {
		taken = append(taken, node.BackendID)
	}
	chosen := p.Fleet.place(n, taken, append(p.leftAt(), p.want.MoveOff))
	if len(chosen) < n {
		return catalog.Refuse("not enough backends: %d more %s a healthy backend without a node of the instance, there %s %d",
			n, words.Plural(n, "node needs", "nodes need each"), words.Plural(len(chosen), "is", "are"), len(chosen))
	}
	for _, backend := range chosen {
		p.enlist(backend)
	}
	return nil
}

// leftAt returns the backends that may still run a node which is to be removed:
// they get no other.
func (p *planner) leftAt() []string {
	var backends []string
	for _, n := range p.Cluster.Nodes {
		if n.Removed && !p.Fleet.Share {
			backends = append(backends, n.BackendID)
		}
	}
	return backends
}

// enlist has a new node join on a backend.
func (p *planner) enlist(backend string) {
	spec := p.want.Spec
	p.join = append(p.join, state.Node{
		NodeID: p.newID(), BackendID: backend, PlanID: p.want.Plan.ID, ServiceID: p.Cluster.ServiceID, Spec: &spec,
	})
}
