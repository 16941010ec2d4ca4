package state_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/state"
)

// kept reads a record as a version of the program has written it.
func kept[T any](t *testing.T, name string) (record T) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err == nil {
		record, err = state.JSON[T](b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// wantKept reads a record and what this program writes of it: both say the same.
func wantKept[T any](t *testing.T, name string, want T) {
	t.Helper()
	got := kept[T](t, name)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s is read wrongly: %s", name, diff)
	}
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := state.JSON[T](b); err != nil || !cmp.Equal(got, again) {
		t.Errorf("%s is written wrongly (%v): %s", name, err, b)
	}
}

func published() state.Cluster {
	return state.Cluster{
		InstanceID: "db1", ServiceID: "s", PlanID: "p", OrganizationGUID: "o", SpaceGUID: "sp",
		AdminCredentials:     state.Credentials{Username: "admin", Password: "a"},
		SuperuserCredentials: state.Credentials{Username: "postgres", Password: "b"},
		AppCredentials:       state.Credentials{Username: "app_owner"},
		AllocatedPort:        30006,
		Nodes:                []state.Node{{NodeID: "n1", BackendID: "10.0.0.7", PlanID: "p", ServiceID: "s"}},
	}
}

// Records of all versions so far are read: those that say none, too.
func TestEarlierRecordsAreRead(t *testing.T) {
	wantKept(t, "cluster-published", published())

	cluster := published()
	cluster.Nodes = append(cluster.Nodes, state.Node{
		NodeID: "n2", BackendID: "10.0.0.8", PlanID: "p", ServiceID: "s", Removed: true,
		Spec: &state.NodeSpec{Image: "i:2", MemoryMB: 1024, MilliCPU: 2000, Restarts: 1},
	})
	cluster.Version, cluster.Database, cluster.Synchronous = 1, "app", true
	cluster.ReplicationCredentials = state.Credentials{Username: "replicator", Password: "c"}
	cluster.RESTCredentials = state.Credentials{Username: "patroni", Password: "sealed:AAAA"}
	cluster.NodeSpec = state.NodeSpec{Image: "i:1", MemoryMB: 512, MilliCPU: 1000}
	cluster.ReadOnlyPort, cluster.MaxSessions, cluster.PostgresMajor = 30007, 100, 17
	cluster.Extensions, cluster.Settings = []string{"hstore"}, map[string]string{"work_mem": "32MB"}
	wantKept(t, "cluster-1", cluster)

	at := func(month, second int) time.Time {
		return time.Date(2026, time.Month(month), 1, 10, 0, second, 0, time.UTC)
	}
	wantKept(t, "instance-1", state.Instance{
		Version: 1, InstanceID: "db1", ServiceID: "s", PlanID: "p", OrganizationGUID: "o", SpaceGUID: "sp",
		Parameters: json.RawMessage(`{"node_count":2}`), Context: json.RawMessage(`{"platform":"cloudfoundry"}`),
		Operation: state.Operation{
			ID: "op", Type: state.Update, State: state.InProgress, Step: "plan", Done: 1, Description: "step 2 of 2",
			Plan: []state.Step{
				{Kind: state.AddNode, Text: "add a node", Node: "n2", Backend: "10.0.0.8"}, {Kind: state.ProveWrite, Text: "write"},
			},
			Started: at(11, 0), Updated: at(11, 5),
		},
		History: []state.Operation{{
			ID: "first", Type: state.Provision, State: state.Succeeded, Step: "write", Description: "ready",
			Started: at(10, 0), Updated: at(10, 4),
		}},
	})
	wantKept(t, "binding-1", state.Binding{
		Version: 1, BindingID: "b", InstanceID: "db1", ServiceID: "s", PlanID: "p", AppGUID: "app",
		Role: "binding_x", Sealed: []byte{0, 1, 2}, State: state.BindingReady, Created: at(11, 0), ReadOnly: true,
	})
}

// A record of a later version, or one that can not be read at all, is not taken
// for none.
func TestRecordThatIsTooNewIsKept(t *testing.T) {
	for text, tooNew := range map[string]bool{
		`{"version":0}`: false, `{"version":1}`: false, `{"version":2,"nodes":[]}`: true, `{"nodes":"elsewhere"}`: true, `{`: true,
	} {
		c, err := state.KeptCluster([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got := c.CheckVersion() != nil; got != tooNew {
			t.Errorf("%s: too new: %v", text, got)
		}
	}
}
