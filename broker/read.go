package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// readTimeout bounds a look at etcd.
const readTimeout = 10 * time.Second

// records are keys as etcd had them at one revision.
type records map[string][]byte

// read returns keys as etcd has them at one moment of the call, whatever this
// broker has seen of it so far. It asks etcd itself: a group of the engine's
// would wait until what the broker writes just now is written.
func (b *Broker) read(ctx context.Context, keys ...string) (records, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var gets []clientv3.Op
	for _, key := range keys {
		gets = append(gets, clientv3.OpGet(key))
	}
	recognise := b.engine.Recognise()
	resp, err := b.client.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return nil, fmt.Errorf("reading etcd: %w", err)
	}
	if err := recognise(resp.Header); err != nil {
		return nil, err // that a record is not there says nothing
	}
	found := records{}
	for _, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			found[string(kv.Key)] = kv.Value
		}
	}
	return found, nil
}

// record decodes one of the records; one that does not exist is false.
func record[T any](found records, key string) (T, bool, error) {
	var out T
	raw, exists := found[key]
	if !exists {
		return out, false, nil
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, false, fmt.Errorf("decoding the value of %s: %w", key, err)
	}
	return out, true, nil
}

// readOne reads and decodes the record at key.
func readOne[T any](ctx context.Context, b *Broker, key string) (T, bool, error) {
	found, err := b.read(ctx, key)
	if err != nil {
		var none T
		return none, false, err
	}
	return record[T](found, key)
}
