package state_test

import (
	"strconv"
	"testing"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// etcd is restored from a snapshot, with a revision beyond all that was: what was
// written since then has not been, and an engine that has seen it goes on with what
// there is.
func TestEtcdIsRestoredFromASnapshot(t *testing.T) {
	t.Parallel()
	lost, restored := fixtures.EtcdServer(t), fixtures.EtcdServer(t)
	link := fixtures.NewLink(t, lost.Endpoints()[0])
	put(t, lost.Client(), state.LeaderKey("a"), "n1")
	put(t, restored.Client(), state.LeaderKey("a"), "n1")
	e, leaders, _ := follower(t, fixtures.EtcdClient(t, link.Addr()))
	put(t, lost.Client(), state.LeaderKey("a"), "n2")
	last := put(t, lost.Client(), state.LeaderKey("b"), "n1")
	awaitLeader(t, e, leaders, "n2")

	link.Cut()
	for revision := int64(0); revision < last+10; {
		revision = put(t, restored.Client(), "/others", strconv.FormatInt(revision, 10))
		if _, err := restored.Client().Compact(t.Context(), revision); err != nil {
			t.Fatal(err)
		}
	}
	link.LeadTo(restored.Endpoints()[0])
	link.Heal()
	awaitLeader(t, e, leaders, "n1")
	await(t, e, "what was written since is gone", func() bool { _, there := leaders.Get("b"); return !there })
	put(t, restored.Client(), state.LeaderKey("a"), "n3")
	awaitLeader(t, e, leaders, "n3")
}
