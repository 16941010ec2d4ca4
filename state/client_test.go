package state_test

import (
	"context"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

func TestCheckTellsWhatIsWrongWithEtcd(t *testing.T) {
	t.Parallel()
	cluster := fixtures.NewEtcdCluster(t)
	client, err := state.Dial(cluster.Endpoints()[:1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if err := check(t, client); err != nil {
		t.Errorf("a cluster that is well: %v", err)
	}
	cluster.Stop(1)
	cluster.Stop(2)
	err = check(t, client)
	if err == nil || !strings.Contains(err.Error(), "answers but has no quorum") {
		t.Errorf("a member that is left alone: %v", err)
	}
	cluster.Stop(0)
	err = check(t, client)
	if err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("a cluster that is gone: %v", err)
	}
}

// check is state.Check by somebody who does not wait for long.
func check(t *testing.T, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	return state.Check(ctx, client)
}
