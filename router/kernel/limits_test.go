package kernel_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/router"
)

// Sessions that the kernel leads count: near a limit user space takes over, refuses
// who is one too many, and gives the port back when enough of them have ended.
func limitsHoldForBothPlanes(t *testing.T, s *site) {
	for _, pg := range s.pg { // as an earlier test may have left them
		pg.SetReadOnly(false)
		pg.SetReplica(false)
	}
	for name, cfg := range map[string]router.Config{
		"of an instance": {MaxInstanceSessions: 10},
		"in all":         {MaxSessions: 10},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			s.stop()
			s.Lead(s.pg[0])
			s.startRouter(cfg)
			defer s.stop()
			eventually(t, "the kernel leads", func() bool { return s.leads(s.portNumber()) })
			led := s.sessions(9)
			eventually(t, "the kernel leads no more of them", func() bool { return !s.leads(s.portNumber()) })
			s.sessions(1)
			_, err := s.connect("direct")
			if refusal, ok := errors.AsType[*pgconn.PgError](err); !ok || refusal.Code != "53300" {
				t.Errorf("one too many ended with %v, want 53300", err)
			}
			for _, conn := range led {
				if _, err := conn.Exec(t.Context(), "SELECT 1").ReadAll(); err != nil {
					t.Errorf("a session that was led before: %v", err)
				}
			}
			// Who was cut finds his place free.
			s.Depose()
			for _, conn := range led {
				s.expectReset(conn.Conn())
			}
			s.Lead(s.pg[1])
			for _, conn := range s.sessions(10) {
				conn.Close(t.Context())
			}
			eventually(t, "the kernel leads again", func() bool { return s.leads(s.portNumber()) })
		})
	}
	s.stop()
	s.startRouter(router.Config{})
}

// sessions opens some, which end with the test.
func (s *site) sessions(n int) []*pgconn.PgConn {
	s.t.Helper()
	conns := make([]*pgconn.PgConn, n)
	for i := range conns {
		var err error
		if conns[i], err = s.connect("direct"); err != nil {
			s.t.Fatalf("session %d: %v", i, err)
		}
		s.t.Cleanup(func() { conns[i].Close(context.Background()) })
	}
	return conns
}
