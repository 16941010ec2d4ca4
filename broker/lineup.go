package broker

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pgpatron/pgpatron/state"
)

// lineup is which nodes of a cluster stay, leave and join, the leader last
// wherever it is.
type lineup struct {
	stay, leave, join []state.Node
}

// line decides the lineup.
func (p *planner) line() error {
	if len(p.want.backends) > 0 {
		return p.lineExactly()
	}
	if err := p.knowMoveOff(); err != nil {
		return err
	}
	for _, n := range p.current() {
		if n.BackendID == p.want.moveOff {
			p.leave = append(p.leave, n)
		} else {
			p.stay = append(p.stay, n)
		}
	}
	for len(p.stay) > p.want.nodes {
		p.dismiss()
	}
	return p.recruit(p.want.nodes - len(p.stay))
}

// current returns the nodes that nobody has asked to remove, the leader last.
func (p *planner) current() []state.Node {
	nodes := slices.DeleteFunc(slices.Clone(p.cluster.Nodes), func(n state.Node) bool { return n.Removed })
	slices.SortStableFunc(nodes, func(a, b state.Node) int {
		return compareBool(a.NodeID == p.leader, b.NodeID == p.leader)
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
	id := p.want.moveOff
	_, registered := p.fleet.find(id)
	used := slices.ContainsFunc(p.cluster.Nodes, func(n state.Node) bool { return n.BackendID == id })
	if id != "" && !registered && !used {
		return badRequest("parameter move_off: there is no backend %q", id)
	}
	return nil
}

// lineExactly has one node on each of the wanted backends and none elsewhere.
func (p *planner) lineExactly() error {
	if len(p.want.backends) != p.want.nodes {
		return badRequest("parameter backends: names %d, and the instance is to have %d nodes; change node_count, too", len(p.want.backends), p.want.nodes)
	}
	if slices.Contains(p.want.backends, p.want.moveOff) {
		return badRequest("parameter move_off: parameter backends wants %q", p.want.moveOff)
	}
	current := p.current()
	wanted := map[string]bool{}
	for _, id := range p.want.backends {
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
	for _, id := range p.want.backends {
		if !wanted[id] {
			continue
		}
		if err := p.fleet.refuse(id); err != nil {
			return err
		}
		if slices.Contains(p.leftAt(), id) {
			return badRequest("parameter backends: a node of the instance on %q is still being removed", id)
		}
		p.enlist(id)
	}
	return nil
}

// refuse says why a backend can not be given a node, if so.
func (f fleet) refuse(id string) error {
	b, registered := f.find(id)
	switch {
	case !registered:
		return badRequest("parameter backends: there is no backend %q", id)
	case !b.Healthy():
		return badRequest("parameter backends: the Docker Engine of %q does not answer", id)
	case f.cordoned[id]:
		return badRequest("parameter backends: %q is cordoned", id)
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
	crowd := p.fleet.crowd(backends)
	fit := p.fleet.fit()
	good := func(n state.Node) bool {
		return slices.ContainsFunc(fit, func(b state.Backend) bool { return b.ID == n.BackendID })
	}
	first := slices.MinFunc(p.stay, func(a, b state.Node) int {
		return cmp.Or(
			compareBool(a.NodeID == p.leader, b.NodeID == p.leader),
			compareBool(good(a), good(b)),
			compareBool(p.sync.Names(a.NodeID), p.sync.Names(b.NodeID)),
			cmp.Compare(crowd.on[b.BackendID], crowd.on[a.BackendID]),
			cmp.Compare(crowd.in[p.fleet.zone(b.BackendID)], crowd.in[p.fleet.zone(a.BackendID)]),
			cmp.Compare(p.fleet.load[b.BackendID], p.fleet.load[a.BackendID]),
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
	chosen := p.fleet.place(n, taken, append(p.leftAt(), p.want.moveOff))
	if len(chosen) < n {
		return badRequest("not enough backends: %d more %s a healthy backend without a node of the instance, there %s %d",
			n, plural(n, "node needs", "nodes need each"), plural(len(chosen), "is", "are"), len(chosen))
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
	for _, n := range p.cluster.Nodes {
		if n.Removed && !p.fleet.share {
			backends = append(backends, n.BackendID)
		}
	}
	return backends
}

// enlist has a new node join on a backend.
func (p *planner) enlist(backend string) {
	spec := p.want.spec
	p.join = append(p.join, state.Node{
		NodeID: p.newID(), BackendID: backend, PlanID: p.want.plan.ID, ServiceID: p.cluster.ServiceID, Spec: &spec,
	})
}

// listed joins words as a sentence does.
func listed(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
