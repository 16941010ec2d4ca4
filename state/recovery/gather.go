package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/copies"
	"github.com/pgpatron/pgpatron/state/sealed"
)

const (
	// requestTTL is how long registrars are asked, in seconds.
	requestTTL = 900
	// askAgain is how often it is looked who has answered.
	askAgain = 500 * time.Millisecond
	// etcdTimeout bounds one question to etcd.
	etcdTimeout = 10 * time.Second
)

// Gather asks every registrar what copies there are. It waits for all backends
// that any copy names, and at most as long as patience. id tells this question
// from earlier ones.
func Gather(ctx context.Context, client *clientv3.Client, keys *sealed.Ring, id string, patience time.Duration) (Evidence, error) {
	if err := ask(ctx, client, id); err != nil {
		return Evidence{}, fmt.Errorf("asking the registrars: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errPatience)
	defer cancel()
	for {
		e, err := answers(context.WithoutCancel(ctx), client, keys, id)
		if err != nil || len(e.Answers) > 0 && len(e.silent()) == 0 {
			return e, err
		}
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errPatience) {
				return e, nil
			}
			return e, context.Cause(ctx)
		case <-time.After(askAgain):
		}
	}
}

// errPatience says that no more answers are waited for.
var errPatience = errors.New("patience is over")

func ask(ctx context.Context, client *clientv3.Client, id string) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	lease, err := client.Grant(ctx, requestTTL)
	if err != nil {
		return err
	}
	value, err := json.Marshal(copies.Request{ID: id})
	if err != nil {
		return err
	}
	_, err = client.Put(ctx, state.RecoveryKey(), string(value), clientv3.WithLease(lease.ID))
	return err
}

// silent returns the backends that a copy names and that have not answered.
func (e Evidence) silent() []string {
	var out []string
	for _, v := range e.Volumes {
		cluster, err := v.Copy.Cluster()
		if !v.Readable || err != nil {
			continue
		}
		for _, n := range cluster.Nodes {
			if _, answered := e.Answers[n.BackendID]; !answered && !slices.Contains(out, n.BackendID) {
				out = append(out, n.BackendID)
			}
		}
	}
	return out
}

// answers reads what etcd has, of the registrars' answers and at all.
func answers(ctx context.Context, client clientv3.KV, keys *sealed.Ring, id string) (Evidence, error) {
	e := Evidence{Answers: map[string]copies.Answer{}, Existing: map[string]string{}}
	for _, prefix := range []string{state.RecoveryKey() + "/", state.ServicePrefix, "/serviceinstance/", "/routing/", "/state/", state.SiteKey()} {
		kvs, err := under(ctx, client, prefix)
		if err != nil {
			return e, err
		}
		for key, value := range kvs {
			if err := e.take(key, value, keys, id); err != nil {
				return e, err
			}
		}
	}
	slices.SortFunc(e.Volumes, newestFirst)
	return e, nil
}

func under(ctx context.Context, client clientv3.KV, prefix string) (map[string][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	resp, err := client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("reading what etcd has under %s: %w", prefix, err)
	}
	out := map[string][]byte{}
	for _, kv := range resp.Kvs {
		out[string(kv.Key)] = kv.Value
	}
	return out, nil
}

// take puts one key where it belongs.
func (e *Evidence) take(key string, value []byte, keys *sealed.Ring, id string) (err error) {
	told, isAnswer := strings.CutPrefix(key, state.RecoveryKey()+"/")
	switch {
	case key == state.SiteKey():
		e.Site = string(value)
	case key == state.EraKey():
		e.Era, err = state.Integer(value)
	case isAnswer && strings.Contains(told, "/"):
		err = e.takeFound(value, keys, id)
	case isAnswer:
		answer, errAnswer := state.JSON[copies.Answer](value)
		if err = errAnswer; err == nil && answer.Request == id {
			e.Answers[answer.Backend] = answer
		}
	default:
		e.Existing[key] = string(value)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	return nil
}

// takeFound opens what a backend tells of a volume.
func (e *Evidence) takeFound(value []byte, keys *sealed.Ring, id string) error {
	found, err := state.JSON[copies.Found](value)
	if err != nil || found.Request != id {
		return err
	}
	v := Volume{Found: found}
	if found.Copy != nil {
		v.Copy, err = copies.Decode(found.Copy, keys)
		if v.Readable = err == nil; err != nil {
			v.Problem = err.Error()
		}
	}
	if v.Readable && (v.Copy.Site != v.Site || v.Copy.Instance != v.Instance || v.Copy.Node != v.Node) {
		v.Readable, v.Problem = false, "the copy is of another node"
	}
	e.Volumes = append(e.Volumes, v)
	return nil
}
