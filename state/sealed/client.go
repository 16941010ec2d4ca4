// Package sealed keeps the passwords in cluster records, and the private keys of
// nodes, closed in etcd, so that whoever may read the records, or a backup of etcd,
// can not log in to anything nor pass for a server.
//
//	keys, err := sealed.ReadKeys(path, false)
//	…
//	keys.Wrap(client) // from here on records are sealed as they are written
//
// It works below all that reads and writes: a client that is wrapped gives and
// takes plain records. A record that is plain in etcd is read as it is, and
// sealed when it is next written. One that is sealed under another key comes out
// as it is; see IsSealed.
package sealed

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Wrap has a client seal and open records from now on. Call it before the client
// is used.
func (k Keys) Wrap(client *clientv3.Client) {
	client.KV = kv{client.KV, k}
	client.Watcher = watcher{client.Watcher, k}
}

// kv seals what is put and opens what is got.
type kv struct {
	clientv3.KV
	keys Keys
}

func (s kv) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	resp, err := s.Do(ctx, clientv3.OpPut(key, value, opts...))
	return resp.Put(), err
}

func (s kv) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := s.KV.Get(ctx, key, opts...)
	if err == nil {
		s.keys.openAll(resp.Kvs)
	}
	return resp, err
}

func (s kv) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	resp, err := s.KV.Do(ctx, s.keys.sealOp(op))
	if err == nil && resp.Get() != nil {
		s.keys.openAll(resp.Get().Kvs)
	}
	return resp, err
}

func (s kv) Txn(ctx context.Context) clientv3.Txn { return txn{s.KV.Txn(ctx), s.keys} }

// txn does the same for a transaction.
type txn struct {
	clientv3.Txn
	keys Keys
}

func (t txn) If(cs ...clientv3.Cmp) clientv3.Txn { return txn{t.Txn.If(cs...), t.keys} }

func (t txn) Then(ops ...clientv3.Op) clientv3.Txn {
	return txn{t.Txn.Then(t.keys.sealOps(ops)...), t.keys}
}

func (t txn) Else(ops ...clientv3.Op) clientv3.Txn {
	return txn{t.Txn.Else(t.keys.sealOps(ops)...), t.keys}
}

func (t txn) Commit() (*clientv3.TxnResponse, error) {
	resp, err := t.Txn.Commit()
	if err == nil {
		for _, r := range resp.Responses {
			t.keys.openAll(r.GetResponseRange().GetKvs())
		}
	}
	return resp, err
}

// watcher opens what a watch brings.
type watcher struct {
	clientv3.Watcher
	keys Keys
}

func (w watcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	from := w.Watcher.Watch(ctx, key, opts...)
	to := make(chan clientv3.WatchResponse)
	go func() {
		defer close(to)
		for resp := range from {
			for _, ev := range resp.Events {
				w.keys.openAll([]*mvccpb.KeyValue{ev.Kv, ev.PrevKv})
			}
			select {
			case to <- resp:
			case <-ctx.Done():
				// The one below closes soon: nobody is left to be told.
			}
		}
	}()
	return to
}

func (k Keys) sealOps(ops []clientv3.Op) []clientv3.Op {
	out := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		out[i] = k.sealOp(op)
	}
	return out
}

func (k Keys) sealOp(op clientv3.Op) clientv3.Op {
	if op.IsPut() {
		op.WithValueBytes(k.sealRecord(string(op.KeyBytes()), op.ValueBytes()))
	}
	return op
}

func (k Keys) openAll(kvs []*mvccpb.KeyValue) {
	for _, kv := range kvs {
		if kv != nil {
			kv.Value = k.openRecord(string(kv.Key), kv.Value)
		}
	}
}
