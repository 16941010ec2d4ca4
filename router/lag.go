package router

import "time"

// lag tells how far a replica may be behind. It remembers where the leader was
// and when, so that being behind in time takes no clock but ours.
type lag struct {
	most     int64
	mostTime time.Duration
	// seen are positions of the leader, the oldest first. All but one are younger
	// than mostTime.
	seen []position
}

// position is where a leader was in the WAL at some time.
type position struct {
	at  time.Time
	wal int64
}

// note takes in where the leader is.
func (l *lag) note(at time.Time, wal int64) {
	if n := len(l.seen); n > 0 && wal < l.seen[n-1].wal {
		l.seen = nil // another leader, which begins behind the old one
	}
	l.seen = append(l.seen, position{at, wal})
	for len(l.seen) > 1 && at.Sub(l.seen[1].at) >= l.mostTime {
		l.seen = l.seen[1:]
	}
}

// allows reports whether a replica that has replayed so far is near enough.
func (l *lag) allows(now time.Time, replayed int64) bool {
	if len(l.seen) == 0 {
		return true // nothing is known of the leader
	}
	oldest, newest := l.seen[0], l.seen[len(l.seen)-1]
	if newest.wal-replayed > l.most {
		return false
	}
	return now.Sub(oldest.at) < l.mostTime || replayed >= oldest.wal
}
