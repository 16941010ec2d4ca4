package router

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

const (
	// watchInterval is how often the replicas of an instance with readers are
	// looked at.
	watchInterval = time.Second
	// watchTail is how long they still are after the last reader.
	watchTail = 10 * time.Second
)

// watch looks at the replicas as long as there are readers. It closes looked
// after the first time.
func (d *reading) watch(ctx context.Context, looked chan struct{}) {
	for first := true; ; first = false {
		d.look(ctx)
		if first {
			close(looked)
		}
		if d.rest() || sleep(ctx, watchInterval) != nil {
			return
		}
	}
}

// rest ends the watch if nobody needs it.
func (d *reading) rest() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed && (time.Since(d.used) < watchTail || d.readers() > 0) {
		return false
	}
	d.watched = nil
	d.lag.seen = nil
	return true
}

// readers returns how many there are. It is called under mu.
func (d *reading) readers() (n int) {
	for _, f := range d.followers {
		n += f.route.count()
	}
	return n
}

// look asks the leader where it is, and then every replica how it does.
func (d *reading) look(ctx context.Context) {
	d.mu.Lock()
	api := d.leader.api
	listed := make([]*follower, 0, len(d.followers))
	for _, f := range d.followers {
		if f.listed {
			listed = append(listed, f)
		}
	}
	d.mu.Unlock()
	if s, err := d.plane.prober.status(ctx, api); err == nil && s.IsPrimary() && s.XLog.Location > 0 {
		d.lag.note(time.Now(), s.XLog.Location)
	}
	var asking sync.WaitGroup
	for _, f := range listed {
		asking.Go(func() { d.lookAt(ctx, f) })
	}
	asking.Wait()
	d.evict()
}

// lookAt finds out whether a replica is fit. One that does not answer is not.
func (d *reading) lookAt(ctx context.Context, f *follower) {
	d.mu.Lock()
	r := f.replica
	d.mu.Unlock()
	s, err := d.plane.prober.status(ctx, r.API)
	fit := err == nil && isStreaming(s) && d.lag.allows(time.Now(), s.XLog.ReplayedLocation)
	var at netip.AddrPort
	if fit {
		at, err = d.plane.prober.find(ctx, r.Addr)
		fit = err == nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !f.listed || f.replica != r {
		return
	}
	if fit != f.fit {
		d.home.logger().Info("replica looked at", "member", r.Member, "addr", r.Addr, "fit", fit, "err", err)
	}
	if f.find(fit); fit {
		f.route.steer(f.asLeader())
		f.route.confirm(at)
	}
}

func isStreaming(s patroni.Status) bool {
	return patroni.Member{Role: s.Role, State: s.State, ReplicationState: s.ReplicationState}.IsStreaming()
}

// evict cuts the readers of replicas that have not been fit for too long, or have
// been switched off, and forgets those that are none.
func (d *reading) evict() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, f := range d.followers {
		if !f.off.IsZero() && time.Since(f.off) >= d.grace() {
			f.route.expel()
		}
		if f.unfit.IsZero() || time.Since(f.unfit) < d.plane.cfg.ReplicaGrace {
			continue
		}
		f.route.steer(leader{})
		if !f.listed {
			f.route.close()
			delete(d.followers, name)
		}
	}
}

// status asks a member how it does.
func (p *prober) status(ctx context.Context, api string) (patroni.Status, error) {
	client, err := patroni.NewClient(api, state.Credentials{}, p.http)
	if err != nil {
		return patroni.Status{}, err
	}
	return client.Status(ctx)
}
