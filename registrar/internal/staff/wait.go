package staff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff grows from base to limit with the number of failures in a row, with
// jitter, so that those who failed together drift apart.
func Backoff(base, limit time.Duration, failures int) time.Duration {
	d := min(base<<min(max(failures-1, 0), 16), limit)
	return d/2 + rand.N(d/2+1)
}

// Pause waits for d or the end of ctx.
func Pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Rest waits for d, or until there is something on orders or news, which may be
// nil. It returns false when ctx has ended.
func Rest(ctx context.Context, d time.Duration, orders, news <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-orders:
	case <-news:
	case <-timer.C:
	}
	return true
}

// Poke makes the next receive from news return, without waiting for it. news
// holds one.
func Poke(news chan struct{}) {
	select {
	case news <- struct{}{}:
	default:
	}
}
