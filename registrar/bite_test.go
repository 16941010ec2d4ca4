package registrar

import (
	"errors"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/registrar/watchdog"
	"github.com/pgpatron/pgpatron/state"
)

// After a node was killed for its silence no other of the cluster is for a while. One
// whose server is no more neither waits for that nor makes others wait.
func TestWindowOfFences(t *testing.T) {
	t.Parallel()
	b := &biter{etcd: fixtures.Etcd(t)}
	now := time.Now().UTC()
	claim := func(node string, cause watchdog.Cause, after time.Duration) error {
		return b.claimWindow(t.Context(), "db1", state.Fence{Node: node, Backend: "h", Cause: string(cause), At: now.Add(after)})
	}
	for _, c := range []struct {
		node    string
		cause   watchdog.Cause
		after   time.Duration
		refused bool
	}{
		{"n1", watchdog.PostgresGone, 0, false},
		{"n2", watchdog.PostgresSilent, time.Second, false},
		{"n2", watchdog.PatroniSilent, 2 * time.Second, false},
		{"n3", watchdog.PatroniSilent, 3 * time.Second, true},
		{"n3", watchdog.PostgresGone, 4 * time.Second, true}, // which leaves the window open
		{"n3", watchdog.PatroniSilent, 5 * time.Second, true},
		{"n3", watchdog.PatroniSilent, 2*time.Second + fenceWindow, false},
	} {
		if err := claim(c.node, c.cause, c.after); errors.Is(err, errCalm) != c.refused || err != nil && !c.refused {
			t.Errorf("%s, %s after %v: %v, want refused %t", c.node, c.cause, c.after, err, c.refused)
		}
	}
}

// Only silences are bounded so.
func TestSilencesAreBounded(t *testing.T) {
	t.Parallel()
	for cause, want := range map[watchdog.Cause]bool{
		watchdog.PostgresSilent: true, watchdog.PatroniSilent: true,
		watchdog.PostgresGone: false, watchdog.Usurper: false, watchdog.PatroniDeaf: false,
	} {
		if got := (watchdog.Finding{Cause: cause}).IsSilence(); got != want {
			t.Errorf("%s is a silence: %t, want %t", cause, got, want)
		}
	}
}
