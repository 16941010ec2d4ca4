package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/copies"
)

// errChanged says that etcd is not as the plan took it to be.
var errChanged = errors.New("etcd has changed since the plan was made: make another")

// Write puts the plan into etcd. No key that exists is changed: one that holds what
// it is to hold is left, one that holds anything else ends the recovery. The site's
// id comes last, and with it every process takes etcd for its own again; so a
// recovery that was cut short is simply done again.
func (p Plan) Write(ctx context.Context, client *clientv3.Client) error {
	if len(p.Problems) > 0 {
		return ErrUndecided
	}
	for _, in := range p.Instances {
		if in.There {
			continue
		}
		for chunk := range slices.Chunk(in.Records, state.MaxGroupKeys/2) {
			if err := putAll(ctx, client, chunk); err != nil {
				return fmt.Errorf("instance %s: %w", in.ID, err)
			}
		}
		if err := putMissing(ctx, client, in.Patroni); err != nil {
			return fmt.Errorf("instance %s: %w", in.ID, err)
		}
	}
	if err := putMissing(ctx, client, p.Switches); err != nil {
		return err
	}
	return p.open(ctx, client)
}

// putAll writes records in one transaction, but for those that are there already.
func putAll(ctx context.Context, client clientv3.KV, records []copies.Record) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	var compares []clientv3.Cmp
	var puts []clientv3.Op
	for _, r := range records {
		resp, err := client.Get(ctx, r.Key)
		if err != nil {
			return err
		}
		if len(resp.Kvs) > 0 && says(string(resp.Kvs[0].Value), r) {
			continue
		}
		compares = append(compares, absent(r.Key))
		puts = append(puts, clientv3.OpPut(r.Key, string(r.Value)))
	}
	if len(puts) == 0 {
		return nil
	}
	resp, err := client.Txn(ctx).If(compares...).Then(puts...).Commit()
	if err == nil && !resp.Succeeded {
		return errChanged
	}
	return err
}

// putMissing writes each record if its key does not exist: Patroni may have been
// faster, and knows better.
func putMissing(ctx context.Context, client clientv3.KV, records []copies.Record) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	for _, r := range records {
		if _, err := client.Txn(ctx).If(absent(r.Key)).Then(clientv3.OpPut(r.Key, string(r.Value))).Commit(); err != nil {
			return err
		}
	}
	return nil
}

// open gives etcd the site's id, and the era that says that it was recovered.
func (p Plan) open(ctx context.Context, client clientv3.KV) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	asBefore := absent(state.SiteKey())
	if p.Before != "" {
		asBefore = clientv3.Compare(clientv3.Value(state.SiteKey()), "=", p.Before)
	}
	resp, err := client.Txn(ctx).If(asBefore).Then(
		clientv3.OpPut(state.SiteKey(), p.Site), clientv3.OpPut(state.EraKey(), strconv.Itoa(p.Era)), clientv3.OpDelete(state.RecoveryKey()),
		clientv3.OpDelete(state.LossPrefix, clientv3.WithPrefix()),
	).Commit()
	if err == nil && !resp.Succeeded {
		return errChanged
	}
	return err
}

func absent(key string) clientv3.Cmp { return clientv3.Compare(clientv3.CreateRevision(key), "=", 0) }
