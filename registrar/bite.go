package registrar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/registrar/internal/staff"
	"github.com/pgpatron/pgpatron/registrar/watchdog"
	"github.com/pgpatron/pgpatron/state"
)

const (
	// fenceWindow is how long after one node of a cluster was killed no other of it is
	// for its silence: what makes leaders fall silent one after the other is not theirs.
	// Left alone, a leader whose Patroni is silent is succeeded when its key ends; so often
	// it may be helped, and no oftener. A server that is no more is no silence, and opens
	// no window.
	fenceWindow = leaderTTL
	// killTimeout bounds a kill, until Docker says that the container is dead.
	killTimeout = 10 * time.Second
)

// errCalm says that a finding does not hold, or may not be acted on now.
var errCalm = errors.New("left alone")

// biter kills the nodes that the watchdog finds. Their death is then dealt with
// like any other: the leader key goes only once Docker has said that the
// container is dead.
type biter struct {
	etcd    clientv3.KV
	docker  *docker
	refresh func(ctx context.Context, node string) error
	bites   *prometheus.CounterVec
	backend string
	log     *slog.Logger
}

// bite kills a node that was found dangerous.
func (b *biter) bite(ctx context.Context, t watchdog.Target, f watchdog.Finding) error {
	if err := b.confirm(ctx, t, f); err != nil {
		return err
	}
	record := state.Fence{Node: t.Node, Backend: b.backend, Cause: string(f.Cause), Evidence: f.Evidence, At: time.Now().UTC()}
	if f.IsSilence() {
		if err := b.claimWindow(ctx, t.Instance, record); err != nil {
			return err
		}
	}
	b.log.WarnContext(ctx, "killing a node that is alive and dangerous", "instance", t.Instance, "member", t.Node, "cause", f.Cause, "evidence", f.Evidence)
	if err := b.kill(ctx, t); err != nil {
		return err
	}
	b.bites.WithLabelValues(string(f.Cause)).Inc()
	// Who must be killed now is killed without asking; that it happened may be told
	// later, or not, if etcd is away, or if a window is open that is not to be lost.
	switch {
	case f.Cause == watchdog.PostgresGone:
		_ = b.claimWindow(ctx, t.Instance, record)
	case !f.IsSilence():
		_ = b.tell(ctx, t.Instance, record)
	}
	return b.refresh(ctx, t.Node)
}

// confirm asks etcd, linearizably, whether the leader key is as the finding
// supposes. A Patroni that is deaf is so whoever leads.
func (b *biter) confirm(ctx context.Context, t watchdog.Target, f watchdog.Finding) error {
	if f.Cause == watchdog.PatroniDeaf {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	resp, err := b.etcd.Get(ctx, state.LeaderKey(t.Instance))
	if err != nil {
		return fmt.Errorf("confirming who leads: %w", err)
	}
	leads := len(resp.Kvs) > 0 && string(resp.Kvs[0].Value) == t.Node
	if leads != f.LeaderOnly() {
		return fmt.Errorf("%w: the leader key says otherwise", errCalm)
	}
	return nil
}

// claimWindow records the fence, unless another node of the cluster was fenced
// a moment ago.
func (b *biter) claimWindow(ctx context.Context, instance string, f state.Fence) error {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	key := state.FenceKey(instance)
	resp, err := b.etcd.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("reading the last fence: %w", err)
	}
	revision := int64(0)
	if len(resp.Kvs) > 0 {
		revision = resp.Kvs[0].ModRevision
		// A record that can not be read forbids nothing.
		last, _ := state.JSON[state.Fence](resp.Kvs[0].Value)
		open := last.Node != f.Node && last.Cause != string(watchdog.PostgresGone)
		if age := f.At.Sub(last.At); open && age.Abs() < fenceWindow {
			return fmt.Errorf("%w: node %s of the cluster was fenced %v ago", errCalm, last.Node, age.Round(time.Second))
		}
	}
	return b.put(ctx, key, f, clientv3.Compare(clientv3.ModRevision(key), "=", revision))
}

// tell records a fence that was needed at once.
func (b *biter) tell(ctx context.Context, instance string, f state.Fence) error {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	return b.put(ctx, state.FenceKey(instance), f)
}

// put records a fence if all conditions hold.
func (b *biter) put(ctx context.Context, key string, f state.Fence, conditions ...clientv3.Cmp) error {
	value, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encoding a fence: %w", err)
	}
	done, err := b.etcd.Txn(ctx).If(conditions...).Then(clientv3.OpPut(key, string(value))).Commit()
	if err == nil && !done.Succeeded {
		err = fmt.Errorf("%w: another node of the cluster is being fenced", errCalm)
	}
	return err
}

// kill ends the run that was watched, and no other, and returns when Docker
// says that it is over.
func (b *biter) kill(ctx context.Context, t watchdog.Target) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	for {
		c, here, err := b.docker.inspect(ctx, containerName(t.Node))
		if err != nil {
			return fmt.Errorf("killing node: %w", err)
		}
		if !here || !c.running || !c.startedAt.Equal(t.Started) {
			return nil
		}
		if err := b.docker.kill(ctx, c.id); err != nil {
			return fmt.Errorf("killing node: %w", err)
		}
		staff.Pause(ctx, 20*time.Millisecond)
	}
}
