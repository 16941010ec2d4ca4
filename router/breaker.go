package router

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// errBroken says that an operator has broken the circuit of this router.
var errBroken = errors.New("the circuit is broken")

// breaker knows whether the circuit of this router is broken. Then it lets nobody
// in, and who is in goes after a while.
type breaker struct {
	name  string
	grace time.Duration
	log   *slog.Logger
	on    atomic.Bool
	// breaks is how often the circuit has been broken. Somebody who looks now and then
	// learns from it of one that was closed and broken again meanwhile.
	breaks atomic.Uint64
	// news tells the plane of a change. Who comes in heeds it without being told.
	news chan struct{}

	// mu guards the rest. closed lasts within ctx until the circuit is broken; both
	// are there once the plane runs.
	mu          sync.Mutex
	ctx, closed context.Context
	open        context.CancelCauseFunc
}

func newBreaker(cfg Config, log *slog.Logger) *breaker {
	b := &breaker{name: routerName(cfg), grace: cfg.BreakGrace, log: log, news: make(chan struct{}, 1)}
	promauto.With(cfg.Registry).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pgpatron_router_circuit_broken", Help: "1 while an operator has broken the circuit of this router.",
	}, func() float64 {
		if b.isOn() {
			return 1
		}
		return 0
	})
	return b
}

// begin says how long the plane runs.
func (b *breaker) begin(ctx context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ctx = ctx
	b.follow()
}

// turn breaks or closes the circuit, and reports whether that is new. It does not
// block: nobody is let in from here on.
func (b *breaker) turn(on bool) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.on.Swap(on) == on {
		return false
	}
	if on {
		b.breaks.Add(1)
		b.log.Warn("circuit is broken by an operator: no new sessions", "grace", b.grace)
	} else {
		b.log.Info("circuit is closed again")
	}
	if b.ctx != nil {
		b.follow()
	}
	return true
}

// follow has closed end, or makes it anew. It is called under mu.
func (b *breaker) follow() {
	if b.open != nil {
		b.open(errBroken)
	}
	b.closed, b.open = context.WithCancelCause(b.ctx)
	if b.on.Load() {
		b.open(errBroken)
	}
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// isOn reports whether the circuit is broken.
func (b *breaker) isOn() bool { return b.on.Load() }

// term returns a context that ends when the circuit is broken, by errBroken, or
// when the plane ends.
func (b *breaker) term() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// reason is what is said of a broken circuit.
func (b *breaker) reason() string { return "circuit break mode is ON for router instance " + b.name }

// refusal is what clients are told. Those whose sessions have not ended yet may
// cancel what they do.
func (b *breaker) refusal(counted bool) refusal {
	return refusal{reason: "circuit_break", code: codeCannotConnect, message: b.reason(), cancels: true, counted: counted}
}
