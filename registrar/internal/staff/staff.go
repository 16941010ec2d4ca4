// Package staff is what the registrar and its parts share of working: one
// goroutine for each thing that is looked after, hired while others work, and
// the ways in which they wait.
package staff

import (
	"context"
	"sync"
)

// Staff are goroutines that are hired while others work. Make it with New, then
// call Run.
type Staff struct {
	news chan struct{}

	// mu guards hired, those that Run has not taken up yet.
	mu    sync.Mutex
	hired []func(ctx context.Context)
}

// New returns a staff of nobody.
func New() *Staff { return &Staff{news: make(chan struct{}, 1)} }

// Hire has work called by Run, in a goroutine of its own, with Run's context. It
// does not wait.
func (s *Staff) Hire(work func(ctx context.Context)) {
	s.mu.Lock()
	s.hired = append(s.hired, work)
	s.mu.Unlock()
	Poke(s.news)
}

// Run lets everybody work until ctx ends, and returns when they have stopped.
// That is no error.
func (s *Staff) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.news:
		}
		for _, work := range s.take() {
			running.Go(func() { work(ctx) })
		}
	}
}

func (s *Staff) take() []func(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hired := s.hired
	s.hired = nil
	return hired
}
