package state

import (
	"math/rand/v2"
	"time"
)

// Who has just committed has the newest picture and would win over the same
// keys again and again, while all others lose. So an engine that lost over a
// key lately leaves it to the others for a moment after each commit of its own.
const (
	courtesyLasts = 200 * time.Millisecond
	courtesyPause = 30 * time.Millisecond
)

// courtesy is what an engine leaves to others, and until when. The zero
// courtesy leaves nothing. It belongs to the loop.
type courtesy struct {
	contested map[string]struct{}
	lostAt    time.Time
	until     time.Time
}

// lost notes the keys over which a commit was lost.
func (c *courtesy) lost(contested map[string]struct{}, now time.Time) {
	c.contested, c.lostAt = contested, now
}

// won notes a commit.
func (c *courtesy) won(b *batch, now time.Time) {
	if now.Sub(c.lostAt) < courtesyLasts && b.comparesAny(c.contested) {
		c.until = now.Add(rand.N(courtesyPause))
	}
}

// spares returns the keys that are now left to others.
func (c *courtesy) spares(now time.Time) map[string]struct{} {
	if !c.until.After(now) {
		return nil
	}
	return c.contested
}

// standBack is how long who has lost so often waits before it tries again: hardly after the
// first time, which may be chance, then for a while that shrinks, so that who
// has waited long comes before who has not. The jitter lets contenders drift
// apart.
func standBack(losses int) time.Duration {
	if losses <= 1 {
		return rand.N(2 * time.Millisecond)
	}
	return rand.N(max(32*time.Millisecond/time.Duration(losses), 8*time.Millisecond))
}
