package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const (
	// adoptAfter is how long etcd has to give the first picture before the one on
	// disk is used.
	adoptAfter = 3 * time.Second
	// keepInterval is the least time from one writing of the file to the next.
	keepInterval = time.Second
)

// table stands between steering and plane. It keeps the courses on disk, so that
// a router that is started without etcd has those that it, or the one before it,
// had last; and whether the circuit of a router of its name was broken.
type table struct {
	path, name string
	orders     *orders
	breaker    *breaker
	// site returns the id of the site that the courses are of.
	site func() string
	log  *slog.Logger
	// news says that the file is behind.
	news chan struct{}

	// mu guards the rest. begun is whether the steering has begun: then what is on
	// disk is of no use any more.
	mu      sync.Mutex
	courses map[string]course
	begun   bool
	adopted bool
}

func newTable(cfg Config, p *plane) *table {
	t := &table{
		path: cfg.TableFile, name: routerName(cfg), orders: p.orders, breaker: p.breaker, log: p.log,
		news: make(chan struct{}, 1), courses: map[string]course{},
	}
	promauto.With(cfg.Registry).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pgpatron_router_stale", Help: "1 while the router knows its instances from disk only.",
	}, func() float64 {
		if t.stale() {
			return 1
		}
		return 0
	})
	return t
}

// run adopts what is on disk if etcd says nothing for too long, and keeps the
// file up to date until ctx ends.
func (t *table) run(ctx context.Context) error {
	if t.path == "" {
		return nil
	}
	wait := time.AfterFunc(adoptAfter, t.adopt)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.news:
		}
		if err := t.write(); err != nil {
			t.log.Warn("keeping the table, will retry", "err", err)
			t.hurry()
		}
		if sleep(ctx, keepInterval) != nil {
			return nil
		}
	}
}

// give passes changed courses on and does not block.
func (t *table) give(changed []course) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.orders.give(changed)
	if t.path == "" {
		return
	}
	for _, c := range changed {
		if c.port == 0 {
			delete(t.courses, c.instance)
		} else {
			t.courses[c.instance] = c
		}
	}
	t.hurry()
}

// turn breaks or closes the circuit of this router.
func (t *table) turn(broken bool) {
	if t.breaker.turn(broken) && t.path != "" {
		t.hurry()
	}
}

func (t *table) hurry() {
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// begin is called with the first picture of etcd. It returns the courses that
// were adopted and hold until something else is given.
func (t *table) begin() map[string]course {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun = true
	if t.adopted {
		t.log.Info("etcd answers: the table from disk is of no use any more")
	}
	return maps.Clone(t.courses)
}

// stale reports whether the courses are those from disk.
func (t *table) stale() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.adopted && !t.begun
}

// adopt gives the courses that are on disk, unless etcd, as that of their site, has
// given better ones.
func (t *table) adopt() {
	f, err := readTable(t.path)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.begun:
	case errors.Is(err, fs.ErrNotExist):
		t.log.Warn("etcd does not answer, or serves another site, and no table is on disk: nothing can be routed yet", "path", t.path)
	case err != nil:
		t.log.Error("etcd does not answer, or serves another site, and the table on disk is of no use", "err", err)
	default:
		t.adopted = true
		courses := f.courses()
		for _, c := range courses {
			t.courses[c.instance] = c
		}
		t.log.Warn("etcd does not answer, or serves another site: routing by the table on disk, which may be old", "path", t.path, "written", f.Written, "instances", len(courses))
		t.breaker.turn(f.Broken == t.name)
		t.orders.give(courses)
	}
}

// tableFile is what is on disk.
type tableFile struct {
	Version int       `json:"version"`
	Written time.Time `json:"written"`
	// Site is the id of the site that the courses are of; empty: not recorded.
	Site string `json:"site,omitempty"`
	// Broken names the router that wrote the file if its circuit was broken: the
	// switch is that of one process, and another has another name.
	Broken  string       `json:"broken,omitempty"`
	Courses []tableEntry `json:"courses"`
}

// tableVersion is the layout of the files that this program writes.
const tableVersion = 1

type tableEntry struct {
	Instance string `json:"instance"`
	Port     int    `json:"port"`
	Member   string `json:"member,omitempty"`
	Addr     string `json:"addr,omitempty"`
	API      string `json:"api,omitempty"`
	Held     bool   `json:"held,omitempty"`
	Away     bool   `json:"away,omitempty"`
	Limit    int    `json:"limit,omitempty"`
	// ReadPort and Replicas are the course's reads.
	ReadPort int       `json:"read_port,omitempty"`
	Replicas []replica `json:"replicas,omitempty"`
}

func entryOf(c course) tableEntry {
	return tableEntry{
		Instance: c.instance, Port: c.port, Member: c.leader.member, Addr: c.leader.addr, API: c.leader.api,
		Held: c.leader.held, Away: c.leader.away, Limit: c.limit, ReadPort: c.reads.port, Replicas: c.reads.replicas,
	}
}

// course returns the course that an entry was made of. Its leader has no term:
// nobody has seen its key.
func (e tableEntry) course() course {
	return course{
		instance: e.Instance, port: e.Port, leader: leader{member: e.Member, addr: e.Addr, api: e.API, held: e.Held, away: e.Away},
		limit: e.Limit, reads: reads{port: e.ReadPort, replicas: e.Replicas},
	}
}

// siteOnDisk returns the site of which the courses on disk are: an etcd that serves
// another, or none, is not to take them away. "": there are none, or nobody knows.
func (t *table) siteOnDisk() string {
	if t.path == "" {
		return ""
	}
	f, err := readTable(t.path)
	if err != nil {
		return "" // adopt tells
	}
	return f.Site
}

// write replaces the file.
func (t *table) write() error {
	f := tableFile{Version: tableVersion, Written: time.Now(), Site: t.site()}
	if t.breaker.isOn() {
		f.Broken = t.name
	}
	t.mu.Lock()
	for _, c := range t.courses {
		f.Courses = append(f.Courses, entryOf(c))
	}
	t.mu.Unlock()
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return replaceFile(t.path, b)
}

// replaceFile writes a file that is there whole or as it was.
func replaceFile(path string, b []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(b)
	if err == nil {
		err = temporary.Sync()
	}
	if err = errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// readTable reads the file.
func readTable(path string) (f tableFile, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("%s: %w", path, err)
	}
	if f.Version != tableVersion {
		return f, fmt.Errorf("%s: version %d, want %d", path, f.Version, tableVersion)
	}
	return f, nil
}

func (f tableFile) courses() []course {
	courses := make([]course, 0, len(f.Courses))
	for _, e := range f.Courses {
		courses = append(courses, e.course())
	}
	return courses
}
