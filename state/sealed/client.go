// Package sealed keeps the passwords in cluster records, and the private keys of
// nodes, closed in etcd, so that whoever may read the records, or a backup of etcd,
// can not log in to anything nor pass for a server.
//
//	file := sealed.File{Setting: "record_key_file", Path: path}
//	ring, err := sealed.Open(ctx, file, log)
//	…
//	ring.Wrap(client) // from here on cluster records are sealed as they are written
//	err = ring.Run(ctx) // has the file read again when it changes
//
// For cluster records it works below all that reads and writes: a client that is
// wrapped gives and takes plain records. A record that is plain in etcd is read as
// it is, and sealed when it is next written. One that is sealed under another key
// comes out as it is; see IsSealed. What is sealed says under which key, by its
// id. Clusters and Bindings count what is sealed under which key, and seal it anew
// under the first.
package sealed

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Wrap has a client seal and open records from now on. Call it before the client
// is used.
func (r *Ring) Wrap(client *clientv3.Client) {
	client.KV = kv{client.KV, r}
	client.Watcher = watcher{client.Watcher, r}
}

// kv seals what is put and opens what is got.
type kv struct {
	clientv3.KV
	ring *Ring
}

func (s kv) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	resp, err := s.Do(ctx, clientv3.OpPut(key, value, opts...))
	return resp.Put(), err
}

func (s kv) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := s.KV.Get(ctx, key, opts...)
	if err == nil {
		s.ring.openAll(resp.Kvs)
	}
	return resp, err
}

func (s kv) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	resp, err := s.KV.Do(ctx, s.ring.sealOp(op))
	if err == nil && resp.Get() != nil {
		s.ring.openAll(resp.Get().Kvs)
	}
	return resp, err
}

func (s kv) Txn(ctx context.Context) clientv3.Txn { return txn{s.KV.Txn(ctx), s.ring} }

// txn does the same for a transaction.
type txn struct {
	clientv3.Txn
	ring *Ring
}

func (t txn) If(cs ...clientv3.Cmp) clientv3.Txn { return txn{t.Txn.If(cs...), t.ring} }

func (t txn) Then(ops ...clientv3.Op) clientv3.Txn {
	return txn{t.Txn.Then(t.ring.sealOps(ops)...), t.ring}
}

func (t txn) Else(ops ...clientv3.Op) clientv3.Txn {
	return txn{t.Txn.Else(t.ring.sealOps(ops)...), t.ring}
}

func (t txn) Commit() (*clientv3.TxnResponse, error) {
	resp, err := t.Txn.Commit()
	if err == nil {
		for _, r := range resp.Responses {
			t.ring.openAll(r.GetResponseRange().GetKvs())
		}
	}
	return resp, err
}

// watcher opens what a watch brings.
type watcher struct {
	clientv3.Watcher
	ring *Ring
}

func (w watcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	from := w.Watcher.Watch(ctx, key, opts...)
	to := make(chan clientv3.WatchResponse)
	go func() {
		defer close(to)
		for resp := range from {
			for _, ev := range resp.Events {
				w.ring.openAll([]*mvccpb.KeyValue{ev.Kv, ev.PrevKv})
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

func (r *Ring) sealOps(ops []clientv3.Op) []clientv3.Op {
	out := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		out[i] = r.sealOp(op)
	}
	return out
}

func (r *Ring) sealOp(op clientv3.Op) clientv3.Op {
	if op.IsPut() {
		op.WithValueBytes(r.sealRecord(string(op.KeyBytes()), op.ValueBytes()))
	}
	return op
}

func (r *Ring) openAll(kvs []*mvccpb.KeyValue) {
	for _, kv := range kvs {
		if kv != nil {
			kv.Value = r.openRecord(string(kv.Key), kv.Value)
		}
	}
}
