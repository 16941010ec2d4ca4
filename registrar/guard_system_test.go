//go:build system

package registrar_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// A real cluster on a disk that counts as full takes no writes, but those of a
// session that insists; and takes them again when there is room.
func TestFullDiskOnDocker(t *testing.T) {
	e := newEngine(t)
	nodeImage := patroni.ImageName + ":" + patroni.ImageVersion()
	if _, err := e.ImageInspect(t.Context(), nodeImage); err != nil {
		t.Skipf("%v: build it with make image", err)
	}
	s, cfg := e.config(t)
	stop := s.start(cfg, s.client)
	s.record(e.on(cluster("db1", "n1"), nodeImage))
	write := func(before ...string) error {
		conn, err := pgx.Connect(t.Context(), "postgres://admin:secret-of-admin@"+s.announced("n1")+"/app")
		if err != nil {
			return err
		}
		defer conn.Close(t.Context())
		for _, sql := range append(before, "CREATE TABLE IF NOT EXISTS public.ledger ()", "DROP TABLE public.ledger") {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				return err
			}
		}
		return nil
	}
	s.patiently("it takes writes", func() bool { return write() == nil })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	cfg.DiskWarn, cfg.DiskReadOnly = 1, 1 // any disk is as full as that
	stop = s.start(cfg, s.client)
	s.patiently("it refuses writes", func() bool {
		refused, ok := errors.AsType[*pgconn.PgError](write())
		return ok && refused.Code == "25006"
	})
	if err := write("SET default_transaction_read_only = off"); err != nil {
		t.Errorf("nobody can make room: %v", err)
	}
	s.await("the node says so", func() bool { return s.status("n1").Warning != "" && s.status("n1").Phase == state.PhaseRunning })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	cfg.DiskWarn, cfg.DiskReadOnly = 100, 100
	s.start(cfg, s.client)
	s.patiently("it takes writes again", func() bool { return write() == nil })
}
