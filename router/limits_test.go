package router_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// refusedWith returns the error with which a login is refused.
func refusedWith(t *testing.T, port int, parameters string) *pgconn.PgError {
	t.Helper()
	conn, err := login(t.Context(), port, parameters)
	if err == nil {
		closing(t, conn)
		t.Fatal("the connection was let in")
	}
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		t.Fatalf("refused with %v, want an error of the server", err)
	}
	return refused
}

func TestTooManySessionsOfAnInstance(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port, n1, _ := s.cluster("a")
	other, _, _ := s.cluster("b")
	r := s.start(router.Config{MaxInstanceSessions: 2})
	first, _ := open(t, port), open(t, port)
	for _, parameters := range []string{"sslmode=disable", "sslmode=prefer"} {
		refused := refusedWith(t, port, parameters)
		if refused.Code != "53300" || !strings.Contains(refused.Message, "instance a ") {
			t.Errorf("with %s refused with %s %q, want 53300 that names the instance", parameters, refused.Code, refused.Message)
		}
	}
	if got := r.metric(t, `pgpatron_router_refusals_total{reason="instance_full"}`); got < 2 {
		t.Errorf("%v refusals are told, want one for each", got)
	}
	ask(t, open(t, other), "who")
	// Who has too many must be able to end what they do.
	if err := first.CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a request to cancel arrives nevertheless", func() bool { return n1.pg.Cancels() == 1 })
	first.Close(t.Context())
	eventually(t, "the place is free", func() bool { return n1.pg.Sessions() == 1 })
	ask(t, open(t, port), "who")
}

func TestTooManySessionsInAll(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, _, _ := s.cluster("a")
	b, _, _ := s.cluster("b")
	s.start(router.Config{MaxSessions: 1})
	open(t, a)
	if refused := refusedWith(t, b, "sslmode=disable"); refused.Code != "53300" || !strings.Contains(refused.Message, "router") {
		t.Errorf("refused with %s %q, want 53300 that names the router", refused.Code, refused.Message)
	}
}

// Who comes when enough others wait is refused at once, as after the hold.
func TestTooManyWait(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]router.Config{
		"in all":         {MaxHeld: 1, Hold: time.Minute},
		"of an instance": {MaxInstanceHeld: 1, Hold: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			port := s.allocate("a")
			n1 := newNode(t, "n1")
			r := s.start(cfg)
			conn := held(t, r, port, 1)
			if refused := refusedWith(t, port, "sslmode=disable"); refused.Code != "57P03" {
				t.Errorf("refused with %s, want 57P03", refused.Code)
			}
			s.announce("a", n1)
			s.lead("a", n1)
			got := <-conn
			closing(t, got)
			s.remove(state.LeaderKey("a"))
			eventually(t, "nobody leads", func() bool { return n1.pg.Sessions() == 0 })
			again := held(t, r, port, 1)
			s.lead("a", n1)
			closing(t, <-again)
		})
	}
}
