package registrar

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

const (
	// meterInterval is how often the host is measured: a disk that fills up has
	// to be seen in time.
	meterInterval = 5 * time.Second
	// tellInterval is how often small changes are told, and what CPU use is
	// taken over.
	tellInterval = 30 * time.Second
	// The changes in percent of the capacity that are told: a great one at once, a
	// small one after tellInterval.
	greatChange, smallChange = 5, 1
	// margin is by how many percent a full disk must have emptied not to be
	// called full.
	margin = 3
)

// measure is what a host has and what of it is in use.
type measure struct {
	capacity state.Capacity
	use      state.Use
}

// meter measures the host. It tells little, because each word of it is written
// into etcd and goes to every process of the site.
type meter struct {
	docker *docker
	// fullAt is at how many percent the disk is called full.
	fullAt  int
	changed func()
	log     *slog.Logger

	// The first belong to Run.
	root  string // Docker's data-root
	busy  cpuTime
	since time.Time // when busy was read, and something told

	// mu guards the rest: what was told last.
	mu   sync.Mutex
	told measure
	full bool
}

// last returns what there is to tell, and whether the disk is full.
func (m *meter) last() (measure, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.told, m.full
}

// Run measures until ctx ends.
func (m *meter) Run(ctx context.Context) error {
	tick := time.NewTicker(meterInterval)
	defer tick.Stop()
	for silent := false; ; {
		err := m.look(ctx)
		if err != nil && ctx.Err() == nil && !silent {
			m.log.WarnContext(ctx, "measuring the host, will retry", "err", err)
		}
		silent = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look measures once and tells what is worth it.
func (m *meter) look(ctx context.Context) error {
	next := m.told
	if m.root == "" {
		var err error
		if next.capacity, m.root, err = m.docker.capacity(ctx); err != nil {
			return err
		}
	}
	var err error
	if next.capacity.DiskMB, next.use.DiskMB, err = disk(m.root); err != nil {
		return err
	}
	if next.use.MemoryMB, err = memoryInUse(); err != nil {
		return err
	}
	due := time.Since(m.since) >= tellInterval
	if due {
		if next.use.CPUPercent, err = m.busy.next(); err != nil {
			return err
		}
	}
	m.tell(next, due)
	return nil
}

// tell takes a measure in, if it differs enough from what was told last.
func (m *meter) tell(next measure, due bool) {
	if due {
		m.since = time.Now()
	}
	m.mu.Lock()
	was, full := m.full, m.isFull(next)
	change := next.differs(m.told)
	worth := full != was || change >= greatChange || due && change >= smallChange
	if worth {
		m.told, m.full = next, full
	}
	m.mu.Unlock()
	switch {
	case full && !was:
		m.log.Error("disk is full: the host takes no nodes, its clusters become read-only", "folder", m.root)
	case was && !full:
		m.log.Info("disk has room again", "folder", m.root)
	}
	if worth {
		m.changed()
	}
}

// isFull reports whether the disk is full, and stays so until there is some
// room again. Call it under mu.
func (m *meter) isFull(now measure) bool {
	percent := condition{measure: now}.of(state.Backend{}).DiskPercent()
	return percent >= m.fullAt || m.full && percent > m.fullAt-margin
}

// differs returns by how many percent of what there is the two differ most.
func (m measure) differs(o measure) int {
	if m.capacity != o.capacity {
		return 100
	}
	return max(
		abs(m.use.CPUPercent-o.use.CPUPercent),
		100*abs(m.use.MemoryMB-o.use.MemoryMB)/max(m.capacity.MemoryMB, 1),
		100*abs(m.use.DiskMB-o.use.DiskMB)/max(m.capacity.DiskMB, 1),
	)
}

func abs(n int) int { return max(n, -n) }
