package registrar

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/state"
)

const (
	guardTimeout = 10 * time.Second
	guardRetry   = 2 * time.Second
)

// A PostgreSQL whose disk is full stops with a panic, and its standbys with it
// soon after. Before that its cluster is made read-only: by the registrar of
// its leader, whichever node's disk it is, so that one alone decides.

// order is a cluster's change to or from read-only.
type order struct {
	readOnly bool
	api      netip.AddrPort // of its leader
	login    state.Credentials
}

// orders returns the clusters that are led from here and are not as the disks
// of their nodes' hosts want them.
func (r *Registrar) orders(docker snapshot) map[string]order {
	orders := map[string]order{}
	for instance := range r.desired.clusters {
		leader, led := r.tables.leaders.Get(instance)
		here, runs := docker.running[leader.Value]
		goal, placed := r.desired.nodes[leader.Value]
		config, known := r.tables.readOnly.Get(instance)
		if !led || !runs || !placed || !known {
			continue
		}
		if full := r.onFullDisk(goal.cluster); full != config.Value {
			orders[instance] = order{readOnly: full, api: here.addrs[patroni.RESTPort], login: goal.cluster.RESTCredentials}
		}
	}
	return orders
}

// onFullDisk reports whether a node of the cluster is on a host with a full disk.
func (r *Registrar) onFullDisk(c state.Cluster) bool {
	for _, n := range c.Nodes {
		if b, there := r.tables.backends.Get(n.BackendID); there && b.Value.Full {
			return true
		}
	}
	return false
}

// guard carries orders out. That they are is seen in etcd, by the next Tick.
type guard struct {
	log  *slog.Logger
	news chan struct{}

	// mu guards the rest.
	mu     sync.Mutex
	orders map[string]order
}

func newGuard(log *slog.Logger) *guard { return &guard{log: log, news: make(chan struct{}, 1)} }

// assign replaces the orders.
func (g *guard) assign(orders map[string]order) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.orders = orders
	if len(orders) > 0 {
		staff.Poke(g.news)
	}
}

func (g *guard) assigned() map[string]order {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.orders
}

// Run carries out what is assigned until ctx ends. What fails is tried again,
// and what was done, too, until the order is taken back.
func (g *guard) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.news:
		}
		for orders := g.assigned(); len(orders) > 0 && ctx.Err() == nil; orders = g.assigned() {
			for instance, o := range orders {
				if err := g.do(ctx, instance, o); err != nil && ctx.Err() == nil {
					g.log.WarnContext(ctx, "setting cluster read-only or not, will retry", "instance", instance, "err", err)
				}
			}
			staff.Pause(ctx, guardRetry)
		}
	}
}

func (g *guard) do(ctx context.Context, instance string, o order) error {
	ctx, cancel := context.WithTimeout(ctx, guardTimeout)
	defer cancel()
	api, err := patroni.NewClient(fmt.Sprintf("http://%v", o.api), o.login, nil)
	if err != nil {
		return err
	}
	if err := api.SetReadOnly(ctx, o.readOnly); err != nil {
		return err
	}
	if o.readOnly {
		g.log.ErrorContext(ctx, "disk is full: cluster is read-only until there is room", "instance", instance)
	} else {
		g.log.InfoContext(ctx, "there is room on the disk: cluster takes writes again", "instance", instance)
	}
	return nil
}
