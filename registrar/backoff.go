package registrar

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff grows from base to limit with the number of failures in a row, with
// jitter, so that those who failed together drift apart.
func backoff(base, limit time.Duration, failures int) time.Duration {
	d := min(base<<min(max(failures-1, 0), 16), limit)
	return d/2 + rand.N(d/2+1)
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
