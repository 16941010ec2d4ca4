package watchdog_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/registrar/watchdog"
	"github.com/pgpatron/pgpatron/state"
)

// node is a watched node: a scripted server and a Patroni.
type node struct {
	*testing.T
	postgres *fixtures.Postgres
	// patroniHangs makes Patroni answer nothing.
	patroniHangs atomic.Bool
	office       atomic.Pointer[watchdog.Office]
	found        chan watchdog.Finding
}

// watch watches a new node, which leads a synchronous cluster with a standby.
func watch(t *testing.T) *node {
	t.Parallel()
	n := &node{T: t, postgres: fixtures.NewPostgres(t, "pg"), found: make(chan watchdog.Finding, 16)}
	n.lead(watchdog.Office{Known: true, Leads: true, Candidate: true})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.patroniHangs.Load() {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable) // an answer all the same
	}))
	t.Cleanup(api.Close)
	dog := watchdog.New(watchdog.Config{
		Patience: time.Second,
		Office:   func(watchdog.Target) watchdog.Office { return *n.office.Load() },
		Bite: func(_ context.Context, _ watchdog.Target, f watchdog.Finding) error {
			n.found <- f
			return nil
		},
		Log: fixtures.Log(t),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- dog.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	dog.Follow(map[string]watchdog.Target{"n1": {
		Instance: "db", Node: "n1", Started: time.Now(), SQL: n.postgres.Addr(), API: api.URL, Synchronous: true,
		Login: state.Credentials{Username: "admin", Password: "p"}, Database: "app",
	}})
	n.await("the server is watched", func() bool { return n.postgres.Sessions() == 1 })
	return n
}

func (n *node) lead(o watchdog.Office) { n.office.Store(&o) }

func (n *node) await(what string, cond func() bool) {
	n.Helper()
	for deadline := time.Now().Add(fixtures.Patience); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.Fatalf("waited in vain until %s", what)
		}
	}
}

func (n *node) want(cause watchdog.Cause) {
	n.Helper()
	select {
	case f := <-n.found:
		if f.Cause != cause || f.Evidence == "" {
			n.Errorf("found %+v, want %s", f, cause)
		}
	case <-time.After(fixtures.Patience):
		n.Errorf("found nothing, want %s", cause)
	}
}

func (n *node) wantNothing() {
	n.Helper()
	select {
	case f := <-n.found:
		n.Errorf("found %+v, want nothing", f)
	case <-time.After(3 * time.Second):
	}
}

func TestHealthyLeaderIsLeftAlone(t *testing.T) { watch(t).wantNothing() }

func TestFrozenServer(t *testing.T) {
	n := watch(t)
	n.postgres.Freeze()
	n.want(watchdog.PostgresSilent)
}

func TestFrozenPatroni(t *testing.T) {
	n := watch(t)
	n.patroniHangs.Store(true)
	n.want(watchdog.PatroniSilent)
}

func TestServerThatVanished(t *testing.T) {
	n := watch(t)
	n.postgres.Stop()
	n.want(watchdog.PostgresGone)
}

// The processes of a server that was killed outlive it for a moment, and say why they end.
func TestServerWhosePostmasterWasKilled(t *testing.T) {
	n := watch(t)
	n.postgres.Crash()
	n.want(watchdog.PostgresGone)
}

// A server that was stopped in order is Patroni's.
func TestServerThatWasShutDown(t *testing.T) {
	n := watch(t)
	n.postgres.ShutDown()
	n.wantNothing()
}

// A server that ends sessions and takes new ones is not gone.
func TestEndedSessionsAreNoEnd(t *testing.T) {
	n := watch(t)
	for range 5 {
		n.postgres.EndSessions()
		n.await("the server is asked again", func() bool { return n.postgres.Sessions() == 1 })
	}
	n.wantNothing()
}

func TestWriterWithoutTheKey(t *testing.T) {
	n := watch(t)
	n.lead(watchdog.Office{Known: true, Led: true})
	n.want(watchdog.Usurper)
}

func TestDemotedLeaderIsLeftAlone(t *testing.T) {
	n := watch(t)
	n.postgres.SetReadOnly(true)
	n.lead(watchdog.Office{Known: true, Led: true})
	n.wantNothing()
}
