package postgres_test

import (
	"context"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgpatron/pgpatron/broker/postgres"
	"github.com/pgpatron/pgpatron/state"
)

// Many sessions write numbered rows, and come again when they are ended. Once the
// fence is up no row comes any more, and every row that was acknowledged lies
// before the position that the fence returned. Then all of them go on.
func TestFenceEndsAllWriting(t *testing.T) {
	i := newInstance(t)
	i.must(i.bind(postgres.Login{Credentials: state.Credentials{Username: "writer"}}), "CREATE TABLE rows (n int)")
	addr := net.JoinHostPort(i.database.Host, strconv.Itoa(i.cluster.AllocatedPort))
	var acked ledger
	stop := acked.fill(i, 4)
	acked.await(t, 100)
	for range 3 {
		lsn, err := i.database.Fence(t.Context(), i.cluster, addr)
		if err != nil {
			t.Fatal(err)
		}
		told := acked.count()
		if conn, err := i.connect("writer", "broker_app"); err == nil {
			conn.Close(t.Context())
			t.Error("a session began behind the fence")
		}
		super, err := pgx.Connect(t.Context(), i.url)
		if err != nil {
			t.Fatal(err)
		}
		defer super.Close(t.Context())
		var flushed bool
		if err := super.QueryRow(t.Context(), "SELECT pg_current_wal_flush_lsn() > '0/0'::pg_lsn + $1::bigint::numeric", lsn).Scan(&flushed); err != nil {
			t.Fatal(err)
		}
		if !flushed {
			t.Errorf("position %d is not on disk", lsn)
		}
		if now := acked.count(); now != told {
			t.Errorf("%d rows were acknowledged behind the fence", now-told)
		}
		if err := i.database.Unfence(t.Context(), i.cluster, addr); err != nil {
			t.Fatal(err)
		}
		acked.await(t, told+100)
	}
	stop()
}

// ledger counts rows that were acknowledged.
type ledger struct {
	mu   sync.Mutex
	rows int
	more chan struct{}
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rows
}

// await waits until so many rows are acknowledged.
func (l *ledger) await(t *testing.T, n int) {
	t.Helper()
	for l.count() < n {
		select {
		case <-l.more:
		case <-t.Context().Done():
			t.Fatal("the test is over")
		}
	}
}

// fill has writers write until stop is called.
func (l *ledger) fill(i *instance, writers int) (stop func()) {
	l.more = make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(i.t.Context())
	cfg, err := pgx.ParseConfig(i.url)
	if err != nil {
		i.t.Fatal(err)
	}
	cfg.User, cfg.Password, cfg.Database = "writer", "secret-of-writer", "broker_app"
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for ctx.Err() == nil {
				l.write(ctx, cfg)
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}

// write writes on one session until that is ended.
func (l *ledger) write(ctx context.Context, cfg *pgx.ConnConfig) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		if _, err := conn.Exec(ctx, "INSERT INTO rows VALUES (1)"); err != nil {
			return
		}
		l.mu.Lock()
		l.rows++
		l.mu.Unlock()
		select {
		case l.more <- struct{}{}:
		default:
		}
	}
}
