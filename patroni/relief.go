package patroni

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgpatron/pgpatron/state"
)

const (
	// reliefInterval is how often the synchronous standby of a leader is looked at.
	reliefInterval = 250 * time.Millisecond
	// reliefAfter is how long it may hold up commits that another would let go, without a sign of life.
	reliefAfter = 500 * time.Millisecond
	// reliefTimeout bounds one look.
	reliefTimeout = 2 * time.Second
)

// silentStandby finds the synchronous standby that commits wait for, and tells whether another
// has written what it has not, and WAL up to $1.
const silentStandby = `
	SELECT s.pid, s.application_name, s.flush_lsn::text, EXISTS (SELECT FROM pg_stat_replication o
		WHERE o.sync_state <> 'sync' AND o.state = 'streaming' AND o.flush_lsn > s.flush_lsn AND o.flush_lsn >= $1::text::pg_lsn)
	FROM pg_stat_replication s
	WHERE s.sync_state = 'sync' AND EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')
	LIMIT 1`

// probe writes some WAL without waiting for any standby, and returns where it ends. While all
// commits wait there may be nothing else by which a standby can show that it lives: if the
// leader is cut off from all of them, one has always written more than the other.
const (
	probe    = "DO $$ BEGIN SET LOCAL synchronous_commit = local; PERFORM pg_current_xact_id(); END $$"
	probeEnd = "SELECT pg_current_wal_flush_lsn()::text"
)

// relief relieves a synchronous standby that has fallen silent. No commit returns until
// PostgreSQL has noticed that it is gone, which takes wal_sender_timeout, and Patroni has
// named another. Where another standby of the same leader takes what is written from then on,
// the leader's node ends the silent one's session after half a second and has Patroni look at
// once. Whom Patroni names, and in what order it tells etcd and PostgreSQL, stays Patroni's.
// Everything works without it, only later.
type relief struct {
	sockets string
	// login is the superuser's.
	login func() state.Credentials
	// needed reports whether this node leads and there are at least two others.
	needed func() bool
	wake   func(context.Context) error
	log    *slog.Logger

	conn *pgx.Conn
	held holdUp
}

// holdUp is a standby for which commits wait, and since when it is where it is.
type holdUp struct {
	pid       int32
	name, lsn string
	// replaceable says that another has written what it has not, up to the mark.
	replaceable bool
	since       time.Time
	// mark is where the WAL ended when it was found to hold up commits.
	mark string
}

// needsProbe reports whether WAL is to be written for the standbys: not before the second look
// that finds the same, for commits that wait for a moment are everyday.
func (h holdUp) needsProbe(now time.Time) bool {
	return h.pid != 0 && h.mark == "" && now.Sub(h.since) >= reliefInterval/2
}

// Run looks until ctx ends.
func (r *relief) Run(ctx context.Context) error {
	tick := time.NewTicker(reliefInterval)
	defer tick.Stop()
	defer r.hangUp(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !r.needed() {
			r.hangUp(ctx)
			continue
		}
		if err := r.look(ctx); err != nil && ctx.Err() == nil {
			r.log.DebugContext(ctx, "looking for a silent standby", "err", err)
			r.hangUp(ctx)
		}
	}
}

func (r *relief) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reliefTimeout)
	defer cancel()
	if err := r.connect(ctx); err != nil {
		return err
	}
	rows, err := r.conn.Query(ctx, silentStandby, cmp.Or(r.held.mark, "0/0"))
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (h holdUp, err error) {
		return h, row.Scan(&h.pid, &h.name, &h.lsn, &h.replaceable)
	})
	if err != nil {
		return err
	}
	now := time.Now()
	due := r.holds(found, now)
	switch {
	case r.held.needsProbe(now):
		return r.probe(ctx)
	case !due:
		return nil
	}
	r.log.InfoContext(ctx, "ending the session of a silent synchronous standby, for which commits wait", "standby", r.held.name)
	if _, err := r.conn.Exec(ctx, "SELECT pg_terminate_backend($1)", r.held.pid); err != nil {
		return fmt.Errorf("ending the session of %s: %w", r.held.name, err)
	}
	r.held = holdUp{}
	return r.wake(ctx)
}

// probe has the standbys show who lives.
func (r *relief) probe(ctx context.Context) error {
	if _, err := r.conn.Exec(ctx, probe); err != nil {
		return fmt.Errorf("writing for the standbys: %w", err)
	}
	return r.conn.QueryRow(ctx, probeEnd).Scan(&r.held.mark)
}

// holds takes in what a look has found, and reports whether a standby holds up commits for
// too long while another goes on.
func (r *relief) holds(found []holdUp, now time.Time) bool {
	if len(found) == 0 {
		r.held = holdUp{}
		return false
	}
	h := found[0]
	if h.pid != r.held.pid || h.lsn != r.held.lsn {
		h.since = now
		r.held = h
	}
	return h.replaceable && r.held.mark != "" && now.Sub(r.held.since) >= reliefAfter
}

func (r *relief) connect(ctx context.Context) error {
	if r.conn != nil {
		return nil
	}
	cfg, err := localServer(r.sockets, r.login())
	if err != nil {
		return err
	}
	r.conn, err = pgx.ConnectConfig(ctx, cfg)
	return err
}

func (r *relief) hangUp(ctx context.Context) {
	r.held = holdUp{}
	if r.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	// It is given up, whatever the other side says to that.
	_ = r.conn.Close(ctx)
	r.conn = nil
}
