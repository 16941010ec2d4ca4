package state_test

import (
	"context"
	"os"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state/embedded"
)

// exampleEtcd starts an etcd for an example, which has no testing.T.
func exampleEtcd(ctx context.Context) (client *clientv3.Client, stop func()) {
	dir, err := os.MkdirTemp("", "pgpatron-test-")
	if err != nil {
		panic(err)
	}
	etcd, err := embedded.Start(ctx, embedded.Config{DataDir: dir, Listen: []string{"127.0.0.1:0"}})
	if err != nil {
		panic(err)
	}
	return etcd.Client(), func() {
		etcd.Close()
		os.RemoveAll(dir)
	}
}
