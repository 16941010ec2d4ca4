package broker

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// jobs runs what is too slow for a Tick, one job for each key, again and again
// until it succeeds. Its caller asks in every Tick; nothing of it needs to
// survive the process, because the journal says what is to be done.
type jobs struct {
	// wake asks for a Tick: a job has news.
	wake func()
	log  *slog.Logger

	mu      sync.Mutex
	running map[string]*job
	group   sync.WaitGroup
}

type job struct {
	what   string
	cancel context.CancelFunc
	// dropped says that nobody wants the work any more; ended, that its
	// goroutine is over; done, that it succeeded.
	dropped, ended, done bool
	err                  error
}

func newJobs(log *slog.Logger) *jobs {
	return &jobs{log: log, running: map[string]*job{}, wake: func() {}}
}

// ask sees to it that the work called what is under way for key, and returns
// whether it is done and how its last attempt failed. Other work for the same
// key is ended first.
func (j *jobs) ask(ctx context.Context, key, what string, work func(ctx context.Context) error) (bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	current := j.running[key]
	if current != nil && current.what == what && !current.dropped {
		return current.done, current.err
	}
	if current != nil && !current.ended {
		current.drop()
		return false, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	fresh := &job{what: what, cancel: cancel}
	j.running[key] = fresh
	j.group.Go(func() { j.run(ctx, key, fresh, work) })
	return false, nil
}

// slowDelay is the delay between attempts at which a job is no longer merely
// early.
const slowDelay = time.Second

// run repeats work until it succeeds or ctx ends.
func (j *jobs) run(ctx context.Context, key string, current *job, work func(ctx context.Context) error) {
	defer current.cancel()
	for delay := 20 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		err := work(ctx)
		ended := j.note(ctx, key, current, err)
		j.wake()
		if ended {
			return
		}
		if delay >= slowDelay {
			j.log.Warn("work is not done yet, will retry", "work", key, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay/2 + rand.N(delay/2)):
		}
	}
}

// note records how an attempt ended and reports whether it was the last.
func (j *jobs) note(ctx context.Context, key string, current *job, err error) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	current.err = err
	current.done = err == nil
	current.ended = err == nil || ctx.Err() != nil
	if current.ended && current.dropped && j.running[key] == current {
		delete(j.running, key)
	}
	return current.ended
}

// drop tells the job that nobody wants it.
func (current *job) drop() {
	current.dropped = true
	current.cancel()
}

// drop ends and forgets the work for key.
func (j *jobs) drop(key string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dropLocked(key)
}

// dropAll ends and forgets all work.
func (j *jobs) dropAll() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for key := range j.running {
		j.dropLocked(key)
	}
}

func (j *jobs) dropLocked(key string) {
	current := j.running[key]
	if current == nil {
		return
	}
	current.drop()
	if current.ended {
		delete(j.running, key)
	}
}

// wait returns when no work is under way.
func (j *jobs) wait() { j.group.Wait() }
