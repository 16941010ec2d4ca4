package router

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// contactInterval is the time from one question to etcd to the next.
const contactInterval = 2 * time.Second

// contact knows how long ago etcd answered last. It asks by itself: a watch on
// which nothing comes may be a quiet one or a dead one. What is routed does not
// depend on it.
type contact struct {
	check func(context.Context) error
	log   *slog.Logger

	// mu guards the rest. last begins as the start.
	mu   sync.Mutex
	last time.Time
	err  error
}

// errNotAsked stands until etcd has been asked once.
var errNotAsked = errors.New("not asked yet")

func newContact(check func(context.Context) error, r prometheus.Registerer, log *slog.Logger) *contact {
	c := &contact{check: check, log: log, last: time.Now(), err: errNotAsked}
	promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pgpatron_router_etcd_age_seconds", Help: "Time since etcd last answered this router.",
	}, func() float64 {
		age, _ := c.state()
		return age.Seconds()
	})
	return c
}

// run asks until ctx ends.
func (c *contact) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := c.ask(ctx)
		if ctx.Err() == nil {
			c.take(err)
		}
		if sleep(ctx, contactInterval) != nil {
			break
		}
	}
	return nil
}

func (c *contact) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, contactInterval)
	defer cancel()
	return c.check(ctx)
}

func (c *contact) take(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lost := c.err != nil && c.err != errNotAsked
	switch {
	case err != nil && !lost:
		c.log.Warn("etcd does not answer, routing on with what is known", "err", err)
	case err == nil && lost:
		c.log.Info("etcd answers again", "took", time.Since(c.last))
	}
	if c.err = err; err == nil {
		c.last = time.Now()
	}
}

// state returns the time since etcd last answered, or since the start, and what
// is wrong with it, if anything is.
func (c *contact) state() (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.last), c.err
}
