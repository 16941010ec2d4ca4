package state_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/pgpatron/pgpatron/state"
)

// A switch's key is the published one, whoever spells it.
func TestKeysOfSwitches(t *testing.T) {
	for want, sw := range map[string]state.Switch{
		state.RouterKey("10.0.0.5", 4711): {Kind: state.RouterSwitch, Name: "10.0.0.5@-@4711"},
		state.RouterKey("fd00::5", 1):     {Kind: state.RouterSwitch, Name: "fd00::5@-@1"},
		state.DatasourceKey("a.b/c", "n"): state.ReplicaSwitchOf("a.b/c", "n"),
		state.CordonKey("10.0.0.7"):       {Kind: state.BackendSwitch, Name: "10.0.0.7"},
	} {
		if got := sw.Key(); got != want {
			t.Errorf("%+v is at %s, want %s", sw, got, want)
		}
	}
}

// The name of a replica's switch tells its instance and its node.
func TestReplicaOfASwitch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`.+`).Draw(t, "instance")
		node := rapid.StringMatching(`[0-9a-f-]+`).Draw(t, "node")
		if gotID, gotNode := state.ReplicaSwitchOf(id, node).Replica(); gotID != id || gotNode != node {
			t.Errorf("got %q and %q, want %q and %q", gotID, gotNode, id, node)
		}
	})
	for _, name := range []string{"", "a", ".a"} {
		if id, node := (state.Switch{Kind: state.ReplicaSwitch, Name: name}).Replica(); id != "" || node != "" {
			t.Errorf("%q is said to be node %q of %q", name, node, id)
		}
	}
}
