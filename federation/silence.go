package federation

import (
	"sync"
	"sync/atomic"
	"time"
)

// silence remembers since when sites do not answer. The zero silence is of none.
type silence struct {
	// mu guards since, by the site's name.
	mu    sync.Mutex
	since map[string]time.Time
}

// note takes down whether a site has answered.
func (s *silence) note(dc string, answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, silent := s.since[dc]
	switch {
	case answered:
		delete(s.since, dc)
	case !silent:
		if s.since == nil {
			s.since = map[string]time.Time{}
		}
		s.since[dc] = time.Now()
	}
}

// of returns how long a site has not answered, 0 if it has, or was not asked.
func (s *silence) of(dc string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	since, silent := s.since[dc]
	if !silent {
		return 0
	}
	return time.Since(since)
}

// forget forgets all of it: this process asks no more.
func (s *silence) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.since)
}

// troubles count what did not work. The zero value is of none.
type troubles struct {
	count atomic.Int64
	// last is the time of the last one, in nanoseconds.
	last atomic.Int64
}

func (t *troubles) add() {
	t.count.Add(1)
	t.last.Store(time.Now().UnixNano())
}

// age returns how long ago the last one was, and whether there ever was one.
func (t *troubles) age() (age time.Duration, ever bool) {
	last := t.last.Load()
	return time.Since(time.Unix(0, last)), last != 0
}
