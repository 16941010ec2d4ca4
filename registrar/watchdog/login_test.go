package watchdog_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/registrar/watchdog"
	"github.com/pgpatron/pgpatron/state"
)

// While passwords are replaced a server is watched with the one that it takes.
func TestSpareLoginIsTried(t *testing.T) {
	url := fixtures.Database(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	cfg := conn.Config()
	right := state.Credentials{Username: cfg.User, Password: state.Secret(cfg.Password)}
	wrong := right
	wrong.Password += "wrong"
	dog := watchdog.New(watchdog.Config{
		Office: func(watchdog.Target) watchdog.Office { return watchdog.Office{} },
		Bite:   func(context.Context, watchdog.Target, watchdog.Finding) error { return nil },
		Log:    fixtures.Log(t),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- dog.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	dog.Follow(map[string]watchdog.Target{"n1": {
		Instance: "db", Node: "n1", Started: time.Now(), SQL: conn.PgConn().Conn().RemoteAddr().String(), API: "http://127.0.0.1:1",
		Login: wrong, Spare: right, Database: cfg.Database,
	}})
	for deadline := time.Now().Add(fixtures.Patience); ; time.Sleep(20 * time.Millisecond) {
		var sessions int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgpatron-watchdog'").Scan(&sessions); err != nil {
			t.Fatal(err)
		}
		if sessions == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the server is not watched")
		}
	}
}
