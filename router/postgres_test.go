package router_test

import (
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
)

// throughRouter returns the login to a real PostgreSQL, through a router.
func throughRouter(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(fixtures.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	n := newNodeAt(t, "n", u.Host)
	s.announce("a", n)
	s.lead("a", n)
	u.Host = fmt.Sprintf("127.0.0.1:%d", s.allocate("a"))
	s.start(router.Config{})
	return u.String()
}

func connectReal(t *testing.T, login string) *pgconn.PgConn {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), login)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// What is copied in and out again is what it was.
func TestCopyOfRealPostgres(t *testing.T) {
	conn := connectReal(t, throughRouter(t))
	ask(t, conn, "CREATE TEMP TABLE copied (line text)")
	lines := strings.Repeat(strings.Repeat("0123456789abcdef", 60)+"\n", 1024)
	times := scaled(32, 1024) // MiB, nearly
	want, got := md5.New(), md5.New()
	reader := io.TeeReader(io.MultiReader(repeat(lines, times)...), want)
	if _, err := conn.CopyFrom(t.Context(), reader, "COPY copied FROM STDIN"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.CopyTo(t.Context(), got, "COPY copied TO STDOUT"); err != nil {
		t.Fatal(err)
	}
	if string(want.Sum(nil)) != string(got.Sum(nil)) {
		t.Error("what comes back differs from what was copied in")
	}
}

func repeat(s string, times int) []io.Reader {
	readers := make([]io.Reader, times)
	for i := range readers {
		readers[i] = strings.NewReader(s)
	}
	return readers
}

// A request to cancel, which is a connection of its own, ends the statement.
func TestCancelOfRealPostgres(t *testing.T) {
	login := throughRouter(t)
	conn := connectReal(t, login)
	ended := make(chan error, 1)
	go func() { ended <- conn.Exec(t.Context(), "SELECT pg_sleep(60)").Close() }()
	watcher := connectReal(t, login)
	eventually(t, "it sleeps", func() bool {
		return ask(t, watcher, "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'") == "1"
	})
	if err := conn.CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "57014") {
		t.Errorf("the statement ended with %v, want 57014", err)
	}
}
