package planner

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/broker/internal/words"
	"github.com/pgpatron/pgpatron/state"
)

// planner turns a cluster as it is into the steps that make it what is wanted.
// It looks at nothing but its fields, so that a plan can be printed as well as
// carried out, and it never plans to have less than there was before there is
// something instead:
//
//	settings → new nodes, until they have all data → staying replicas made anew
//	→ leaving replicas removed → leadership handed over → the old leader made
//	anew or removed → extensions → a write
//
// Docs: docs/decisions/0015-plans-of-steps.md.
type planner struct {
	Picture
	want Target
	// newID names new nodes.
	newID func() string

	lineup
	steps []state.Step
	// removals counts those that are still to be planned.
	removals int
}

// plan returns the steps, none if everything is as it should be.
func (p *planner) plan() ([]state.Step, error) {
	if err := p.line(); err != nil {
		return nil, err
	}
	if p.want.Switchover && len(p.stay)+len(p.join) < 2 {
		return nil, Impossible{"parameter switchover: there is no replica that could take over"}
	}
	if p.want.Switchover && p.Leader == "" {
		return nil, Impossible{"parameter switchover: the cluster has no leader now; ask again"}
	}
	if raised, lowered := p.restarts(); len(raised) > 0 && len(lowered) > 0 {
		return nil, catalog.Refuse("parameter settings: raise %s and lower %s in two updates: their restarts go in opposite orders", words.List(raised), words.List(lowered))
	}
	p.removals = len(p.leave)
	p.changeSettings()
	p.addNodes()
	p.changeSynchronous()
	p.roll()
	if !slices.Equal(p.Cluster.Extensions, p.want.Extensions) {
		p.add(state.Step{Kind: state.ChangeExtensions, Extensions: p.want.Extensions}, "make the database's extensions %s", words.List(p.want.Extensions))
	}
	if len(p.steps) > 0 {
		p.proveWrite()
	}
	return p.steps, nil
}

func (p *planner) add(step state.Step, format string, args ...any) {
	step.Text = fmt.Sprintf(format, args...)
	p.steps = append(p.steps, step)
}

// of adds a step about one node.
func (p *planner) of(kind state.StepKind, n state.Node, format string) {
	p.add(state.Step{Kind: kind, Node: n.NodeID, Backend: n.BackendID}, format, p.name(n))
}

// name says which node is meant.
func (p *planner) name(n state.Node) string {
	alike := 0
	for _, other := range slices.Concat(p.stay, p.leave, p.join) {
		if other.BackendID == n.BackendID {
			alike++
		}
	}
	if alike > 1 {
		return fmt.Sprintf("the node %.8s on %s", n.NodeID, n.BackendID)
	}
	return "the node on " + n.BackendID
}

// changeSettings makes the settings what is wanted. Those that are lowered and
// need a restart take hold on the leader first: no replica runs with less than
// its leader. Those that are raised, last: see roll.
func (p *planner) changeSettings() {
	if maps.Equal(p.Cluster.Settings, p.want.Settings) {
		return
	}
	p.configure(p.Cluster.Synchronous, "set %s", words.List(p.changedSettings()))
	if _, lowered := p.restarts(); len(lowered) == 0 {
		return
	}
	if leader, ok := p.Cluster.Node(p.Leader); ok {
		p.restart(leader)
	}
	for _, n := range p.stay {
		if n.NodeID != p.Leader {
			p.restart(n)
		}
	}
}

// restarts tells which settings ask for a restart.
func (p *planner) restarts() (raised, lowered []string) {
	return p.want.Plan.RestartDirection(p.Cluster.Settings, p.want.Settings)
}

// changedSettings names what changes and what it becomes.
func (p *planner) changedSettings() []string {
	var out []string
	for name, value := range p.want.Settings {
		if before, ok := p.Cluster.Settings[name]; !ok || before != value {
			out = append(out, name+" to "+value)
		}
	}
	for _, name := range without(p.Cluster.Settings, p.want.Settings) {
		out = append(out, name+" to its default")
	}
	slices.Sort(out)
	return out
}

func (p *planner) configure(synchronous bool, format string, args ...any) {
	reset := without(p.Cluster.Settings, p.want.Settings)
	p.add(state.Step{Kind: state.Configure, Synchronous: synchronous, Settings: p.want.Settings, Reset: reset}, format, args...)
}

// without returns the names of settings that others lack.
func without(settings, others map[string]string) []string {
	var names []string
	for name := range settings {
		if _, ok := others[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (p *planner) addNodes() {
	for _, n := range p.join {
		p.add(state.Step{Kind: state.AddNode, Node: n.NodeID, Backend: n.BackendID, Spec: n.Spec}, "add %s", p.name(n))
	}
	for _, n := range p.join {
		p.of(state.AwaitNode, n, "wait until %s follows the leader and has caught up")
	}
}

// changeSynchronous lets commits wait for a standby from when there is one, or
// no longer. Before the last but one node goes, remove sees to it.
func (p *planner) changeSynchronous() {
	switch {
	case p.want.Synchronous == p.Cluster.Synchronous:
	case p.want.Synchronous:
		p.configure(true, "let commits wait for a standby")
	case p.want.Nodes > 1 || p.removals == 0:
		p.configure(false, "let commits no longer wait for a standby")
	}
}

// roll makes nodes anew and removes nodes: replicas first, the leader last,
// with one change of leadership.
func (p *planner) roll() {
	for _, n := range p.stay {
		if n.NodeID != p.Leader {
			p.refresh(n)
		}
	}
	for _, n := range p.leave {
		if n.NodeID != p.Leader {
			p.remove(n)
		}
	}
	leader, ok := p.Cluster.Node(p.Leader)
	if !ok {
		return
	}
	leaves := slices.Contains(p.leave, leader)
	if heirs := len(p.stay) + len(p.join); heirs > 1 || leaves {
		if leaves || p.want.Switchover || p.stale(leader) {
			p.of(state.HandOver, leader, "hand the leadership over from %s")
		}
	}
	if leaves {
		p.remove(leader)
	} else {
		p.refresh(leader)
	}
}

// stale reports whether a node has to be made anew or restarted.
func (p *planner) stale(n state.Node) bool {
	raised, _ := p.restarts()
	return p.Cluster.SpecOf(n) != p.want.Spec || len(raised) > 0
}

// refresh brings a node to what it is to be made from and its settings.
func (p *planner) refresh(n state.Node) {
	was := p.Cluster.SpecOf(n)
	switch {
	case was != p.want.Spec:
		spec := p.want.Spec
		p.add(state.Step{Kind: state.ReshapeNode, Node: n.NodeID, Backend: n.BackendID, Spec: &spec}, "restart %s%s", p.name(n), difference(was, spec))
	case p.stale(n):
		p.restart(n)
	}
}

func (p *planner) restart(n state.Node) {
	settings := p.want.Plan.RestartSettings(p.want.Settings)
	p.add(state.Step{Kind: state.RestartNode, Node: n.NodeID, Backend: n.BackendID, Settings: settings}, "restart PostgreSQL of %s", p.name(n))
}

func (p *planner) remove(n state.Node) {
	if p.removals == 1 && p.want.Nodes == 1 && p.Cluster.Synchronous {
		p.configure(false, "let commits no longer wait for a standby")
	}
	p.removals--
	p.of(state.RemoveNode, n, "remove %s")
	p.of(state.ReleaseNode, n, "wait until container and volume of %s are gone")
}

// difference says in words what changes about a node's container.
func difference(was, spec state.NodeSpec) string {
	var changes []string
	if was.Image != spec.Image {
		changes = append(changes, "image "+spec.Image)
	}
	if was.MemoryMB != spec.MemoryMB {
		changes = append(changes, fmt.Sprintf("%d MiB of memory", spec.MemoryMB))
	}
	if was.MilliCPU != spec.MilliCPU {
		changes = append(changes, fmt.Sprintf("%.1f cores", float64(spec.MilliCPU)/1000))
	}
	if len(changes) == 0 {
		return ""
	}
	return " with " + words.List(changes)
}
