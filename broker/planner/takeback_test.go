package planner

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/state"
)

// grown is a cluster whose update adds nodes on c and d, and its plan.
func grown() (state.Cluster, []state.Step) {
	cluster := state.Cluster{AllocatedPort: 30000, Settings: map[string]string{"jit": "off"}, Nodes: []state.Node{
		{NodeID: "n-a", BackendID: "a"}, {NodeID: "n-c", BackendID: "c"},
	}}
	return cluster, []state.Step{
		{Kind: state.AddNode, Node: "n-c", Backend: "c"},
		{Kind: state.AddNode, Node: "n-d", Backend: "d"},
		{Kind: state.AwaitNode, Node: "n-c", Backend: "c"},
		{Kind: state.Configure, Settings: map[string]string{"work_mem": "8MB"}},
		{Kind: state.ReshapeNode, Node: "n-a", Backend: "a"},
	}
}

func TestTakeBack(t *testing.T) {
	const write = "write through port 30000"
	for name, test := range map[string]struct {
		done int
		want []string
	}{
		"nodes that are there go again":      {1, []string{"remove the node on c", "wait until container and volume of the node on c are gone", write}},
		"nodes that wait go again":           {2, []string{"remove the node on c", "wait until container and volume of the node on c are gone", write}},
		"nodes with all data stay":           {3, []string{"set what was set before", write}},
		"a container is made as it was":      {4, []string{"restart the node on a as it was", write}},
		"nothing is left when all were done": {5, []string{write}},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, plan := grown()
			op := state.Operation{Plan: plan, Done: test.done}
			var texts []string
			for _, step := range TakeBack(op, cluster) {
				texts = append(texts, step.Text)
			}
			if diff := cmp.Diff(test.want, texts); diff != "" {
				t.Errorf("taken back differs (-want +got):\n%s", diff)
			}
		})
	}
}

// What a configuration that failed has set is unset again.
func TestTakeBackOfSettings(t *testing.T) {
	cluster, plan := grown()
	op := state.Operation{Plan: plan, Done: 3}
	want := state.Step{
		Kind: state.Configure, Text: "set what was set before",
		Settings: map[string]string{"jit": "off"}, Reset: []string{"work_mem"},
	}
	if diff := cmp.Diff(want, TakeBack(op, cluster)[0]); diff != "" {
		t.Errorf("step differs (-want +got):\n%s", diff)
	}
}
