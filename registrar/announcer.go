package registrar

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/state"
)

const (
	// announceBatch is how many keys one transaction changes, of etcd's 128.
	announceBatch = 100
	// calmness is how long nothing happens before what happened is looked at.
	calmness = 20 * time.Millisecond
)

// announcer announces the containers that ask for it by their label. Their keys
// begin with any name, so the engine, whose tables are fixed, does not hold
// them: what is in etcd is read anew once in a while instead.
type announcer struct {
	docker *docker
	etcd   clientv3.KV
	cfg    Config
	log    *slog.Logger
	// session is the engine's; news tells that it is another.
	session atomic.Int64
	news    chan struct{}

	// The rest belongs to Run: what was put, under which lease, and what was
	// said about the labels of which container.
	put    map[string]string
	lease  clientv3.LeaseID
	blamed map[string]string
}

func newAnnouncer(d *docker, etcd clientv3.KV, cfg Config, log *slog.Logger) *announcer {
	return &announcer{
		docker: d, etcd: etcd, cfg: cfg, log: log, news: make(chan struct{}, 1),
		put: map[string]string{}, blamed: map[string]string{},
	}
}

// hold tells under which session to announce.
func (a *announcer) hold(lease clientv3.LeaseID) {
	if a.session.Swap(int64(lease)) != int64(lease) {
		staff.Poke(a.news)
	}
}

// Run announces until ctx ends. The announcements go with the session.
func (a *announcer) Run(ctx context.Context) error {
	for failures := 1; ; failures++ {
		began := time.Now()
		err := a.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > relistInterval {
			failures = 1
		}
		if failures == 1 {
			a.log.WarnContext(ctx, "announcing labelled containers, will retry", "err", err)
		}
		staff.Pause(ctx, staff.Backoff(50*time.Millisecond, 2*time.Second, failures))
	}
}

// follow keeps the announcements in step with Docker until something breaks. As
// everywhere, the subscription comes before the list.
func (a *announcer) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Docker's client learns the engine's version by its first question, and must
	// not be asked for events meanwhile.
	if _, err := a.docker.version(ctx); err != nil {
		return err
	}
	impatient := time.AfterFunc(askTimeout, cancel)
	happened, broken := a.subscribe(ctx)
	impatient.Stop()
	check := time.NewTicker(relistInterval)
	defer check.Stop()
	for whole := true; ; {
		if err := a.reconcile(ctx, whole); err != nil {
			return err
		}
		whole = false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-happened:
			calm(ctx, happened)
		case <-a.news:
		case <-check.C:
			whole = true
		case err := <-broken:
			return fmt.Errorf("event stream: %w", err)
		}
	}
}

// calm waits until nothing more happens, but not for long: each look at what
// runs asks for every container, and an engine that starts tells of all of them.
func calm(ctx context.Context, happened <-chan events.Message) {
	enough := time.After(10 * calmness)
	for {
		select {
		case <-happened:
		case <-time.After(calmness):
			return
		case <-enough:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (a *announcer) subscribe(ctx context.Context) (<-chan events.Message, <-chan error) {
	wanted := filters.NewArgs(filters.Arg("label", labelAnnounce), filters.Arg("type", string(events.ContainerEventType)))
	for _, action := range []string{eventDie, eventStart, string(events.ActionRename)} {
		wanted.Add("event", action)
	}
	return a.docker.client.Events(ctx, events.ListOptions{Filters: wanted})
}

// reconcile makes the announcements those of what runs. whole has it look at
// what is in etcd, too, and not only at what it put there.
func (a *announcer) reconcile(ctx context.Context, whole bool) error {
	lease := clientv3.LeaseID(a.session.Load())
	if lease == clientv3.NoLease {
		return nil // news will come
	}
	if lease != a.lease {
		a.lease = lease
		a.doubt()
	}
	running, err := a.docker.foreigners(ctx)
	if err != nil {
		return err
	}
	wanted := a.wanted(ctx, running)
	if whole {
		if err := a.verify(ctx); err != nil {
			return err
		}
	}
	return a.commit(ctx, wanted)
}

// doubt forgets what the keys that were put hold, but not that they were put:
// the session before may have ended for this process alone, and its keys live.
func (a *announcer) doubt() {
	for key := range a.put {
		a.put[key] = ""
	}
}

// wanted returns the announcements of these containers. What can not be
// announced is told once.
func (a *announcer) wanted(ctx context.Context, running []foreigner) map[string]string {
	wanted, blamed := map[string]string{}, map[string]string{}
	for _, c := range running {
		if err := a.want(c, wanted); err != nil {
			blamed[c.id] = err.Error()
			if a.blamed[c.id] != err.Error() {
				a.log.WarnContext(ctx, "not announcing container", "container", c.name, "err", err)
			}
		}
	}
	a.blamed = blamed
	return wanted
}

// want adds the announcements of one container.
func (a *announcer) want(c foreigner, wanted map[string]string) error {
	w, err := parseWish(c.label, c.image)
	if err == nil && w.name == a.cfg.Image {
		err = fmt.Errorf("the name %q is that of nodes", w.name)
	}
	if err != nil {
		return fmt.Errorf("label %s: %w", labelAnnounce, err)
	}
	for _, internal := range w.ports {
		addr, err := c.published(internal, a.cfg.Backend)
		if err != nil {
			return err
		}
		wanted[state.AnnouncementKey(w.name, a.cfg.Hostname, c.name, internal)] = addr.String()
	}
	return nil
}

// verify forgets having put what is not in etcd as it was put.
func (a *announcer) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for key, value := range maps.Clone(a.put) {
		resp, err := a.etcd.Get(ctx, key)
		if err != nil {
			return fmt.Errorf("checking announcement %s: %w", key, err)
		}
		if len(resp.Kvs) == 0 || string(resp.Kvs[0].Value) != value || clientv3.LeaseID(resp.Kvs[0].Lease) != a.lease {
			a.put[key] = ""
		}
	}
	return nil
}

// commit writes what is wanted and was not put, and withdraws what was put and
// is not wanted.
func (a *announcer) commit(ctx context.Context, wanted map[string]string) error {
	var ops []clientv3.Op
	for key, value := range wanted {
		if a.put[key] != value {
			a.put[key] = "" // who knows how this ends
			ops = append(ops, clientv3.OpPut(key, value, clientv3.WithLease(a.lease)))
		}
	}
	for key := range a.put {
		if _, ok := wanted[key]; !ok {
			ops = append(ops, clientv3.OpDelete(key))
		}
	}
	for batch := range slices.Chunk(ops, announceBatch) {
		if err := a.write(ctx, batch); err != nil {
			return err
		}
	}
	a.put = wanted
	return nil
}

func (a *announcer) write(ctx context.Context, ops []clientv3.Op) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := a.etcd.Txn(ctx).Then(ops...).Commit(); err != nil {
		return fmt.Errorf("announcing: %w", err)
	}
	return nil
}
