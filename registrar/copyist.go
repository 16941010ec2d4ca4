package registrar

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/state/copies"
	"github.com/pgpatron/pgpatron/state/sealed"
)

const (
	// copyPause is how long changes are waited for, so that many of them make one
	// copy, and copyRetry how long after what could not be done.
	copyPause = time.Second
	copyRetry = 5 * time.Second
)

// copyist keeps on each node's volume a copy of what etcd has of its instance, from
// which a site is recovered whose etcd has lost everything.
type copyist struct {
	etcd      clientv3.KV
	docker    *docker
	inventory *inventory
	keys      *sealed.Ring
	site      string
	backend   string
	log       *slog.Logger
	news      chan struct{}

	// mu guards here, the nodes that each instance has here, and due, the instances of
	// those whose copy may be old.
	mu   sync.Mutex
	here map[string][]string
	due  map[string]string
	// shelves is of Run alone.
	shelves map[string]*shelf
}

func newCopyist(cfg Config, etcd clientv3.KV, d *docker, i *inventory, log *slog.Logger) *copyist {
	return &copyist{
		etcd: etcd, docker: d, inventory: i, keys: cfg.RecordKeys, site: cfg.Site, backend: cfg.ID, log: log,
		news: make(chan struct{}, 1), here: map[string][]string{}, due: map[string]string{}, shelves: map[string]*shelf{},
	}
}

// want says that something of an instance has changed that has these nodes here, and
// no others.
func (c *copyist) want(instance string, nodes []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, node := range c.here[instance] {
		delete(c.due, node)
	}
	delete(c.here, instance)
	for _, node := range nodes {
		c.due[node] = instance
	}
	if len(nodes) > 0 {
		c.here[instance] = nodes
		staff.Poke(c.news)
	}
}

// Run copies what is due until ctx ends.
func (c *copyist) Run(ctx context.Context) error {
	wait := time.Hour
	for staff.Rest(ctx, wait, c.news, nil) {
		staff.Pause(ctx, copyPause)
		wait = c.round(ctx)
	}
	return nil
}

// round copies what is due and returns when to come again.
func (c *copyist) round(ctx context.Context) time.Duration {
	due := c.take()
	wait := time.Hour
	for node, instance := range due {
		err := c.copy(ctx, node, instance)
		if err == nil || ctx.Err() != nil {
			continue
		}
		wait = copyRetry
		c.postpone(node, instance)
		if !errors.Is(err, errNoContainer) {
			c.log.WarnContext(ctx, "copying records to a node's volume, will retry", "instance", instance, "member", node, "err", err)
		}
	}
	return wait
}

// take returns what is due, and forgets the volumes of nodes that are here no longer.
func (c *copyist) take() (due map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	due, c.due = c.due, map[string]string{}
	stay := map[string]bool{}
	for _, nodes := range c.here {
		for _, node := range nodes {
			stay[node] = true
		}
	}
	maps.DeleteFunc(c.shelves, func(node string, _ *shelf) bool { return !stay[node] })
	return due
}

// postpone leaves a node for the next round, unless it has left meanwhile.
func (c *copyist) postpone(node, instance string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.here[instance], node) {
		c.due[node] = instance
	}
}

// errNoContainer says that there is no container through which a volume is reached.
var errNoContainer = errors.New("the node has no container")

// copy brings one node's copy up to date. It never takes the place of a newer one.
func (c *copyist) copy(ctx context.Context, node, instance string) error {
	here, there, _ := c.inventory.container(node)
	if !there || here.dead {
		return errNoContainer
	}
	s, err := c.shelf(ctx, node, here.id)
	if err != nil {
		return err
	}
	now, err := copies.Take(ctx, c.etcd, copies.Subject{Site: c.site, Instance: instance, Node: node, Backend: c.backend})
	if errors.Is(err, copies.ErrNoRecord) {
		return nil
	}
	if err == nil {
		err = s.behind(now.Age)
	}
	if err != nil || s.copy.Same(now) && s.copy.Era == now.Era {
		return err
	}
	return s.put(ctx, c.docker, here.id, now, c.keys)
}

// shelf returns what is known of a node's volume, and looks if that is nothing.
func (c *copyist) shelf(ctx context.Context, node, container string) (*shelf, error) {
	if s, ok := c.shelves[node]; ok {
		return s, nil
	}
	s, err := readShelf(ctx, c.docker, container, c.keys)
	if err != nil {
		return nil, err
	}
	c.shelves[node] = &s
	return &s, nil
}

// verify returns an error if etcd is older than the copy on a node's volume: then
// it can not be asked what is to be removed. Through a container that Docker has
// removed by half nothing can be read: what there was, was verified before.
func (c *copyist) verify(ctx context.Context, node string) error {
	here, there, _ := c.inventory.container(node)
	if !there || here.dead {
		return nil
	}
	s, err := readShelf(ctx, c.docker, here.id, c.keys)
	if err != nil {
		return err
	}
	now, err := copies.Now(ctx, c.etcd)
	if err != nil {
		return err
	}
	return s.behind(now)
}
