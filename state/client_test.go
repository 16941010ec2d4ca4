package state_test

import (
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

func TestCheckTellsWhatIsWrongWithEtcd(t *testing.T) {
	cluster := fixtures.NewEtcdCluster(t)
	client, err := state.Dial(cluster.Endpoints()[:1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if err := state.Check(t.Context(), client); err != nil {
		t.Errorf("a cluster that is well: %v", err)
	}
	cluster.Stop(1)
	cluster.Stop(2)
	err = state.Check(t.Context(), client)
	if err == nil || !strings.Contains(err.Error(), "answers but has no quorum") {
		t.Errorf("a member that is left alone: %v", err)
	}
	cluster.Stop(0)
	err = state.Check(t.Context(), client)
	if err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("a cluster that is gone: %v", err)
	}
}
