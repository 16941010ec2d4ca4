package planner

import (
	"slices"

	"github.com/pgpatron/pgpatron/state"
)

// TakeBack returns what an update does instead of the rest of its plan, when
// that can not be carried out: what leaves the instance usable. Nodes that were
// added go again as long as not all of them have all data: nothing that was
// there before has gone then. Later they stay, and the next update goes on from
// there.
func TakeBack(op state.Operation, cluster state.Cluster) []state.Step {
	ahead := op.Plan[op.Done:]
	current, _ := op.Current()
	back := planner{Picture: Picture{Cluster: cluster}}
	if kindIn(ahead, state.AwaitNode) {
		for _, step := range op.Plan {
			if n, there := cluster.Node(step.Node); step.Kind == state.AddNode && there {
				back.leave = append(back.leave, n)
			}
		}
	}
	for _, n := range back.leave {
		back.of(state.RemoveNode, n, "remove %s")
		back.of(state.ReleaseNode, n, "wait until container and volume of %s are gone")
	}
	if n, there := cluster.Node(current.Node); there && current.Kind == state.ReshapeNode {
		spec := cluster.NodeSpec
		back.add(state.Step{Kind: state.ReshapeNode, Node: n.NodeID, Backend: n.BackendID, Spec: &spec}, "restart %s as it was", back.name(n))
	}
	if current.Kind == state.Configure {
		back.add(state.Step{
			Kind: state.Configure, Synchronous: cluster.Synchronous, Settings: cluster.Settings,
			Reset: without(current.Settings, cluster.Settings),
		}, "set what was set before")
	}
	if op.Type == state.Rotate {
		back.keepPasswords()
	}
	back.proveWrite()
	return back.steps
}

func kindIn(steps []state.Step, kind state.StepKind) bool {
	return slices.ContainsFunc(steps, func(s state.Step) bool { return s.Kind == kind })
}
