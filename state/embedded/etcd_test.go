package embedded_test

import (
	"context"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state/embedded"
)

func start(t *testing.T, dir string, listen ...string) *embedded.Etcd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), fixtures.Patience)
	defer cancel()
	etcd, err := embedded.Start(ctx, embedded.Config{DataDir: dir, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { etcd.Close() })
	return etcd
}

// Containers are given the second endpoint: it must be the second address.
func TestEndpointsKeepTheirOrder(t *testing.T) {
	for range 5 {
		etcd := start(t, t.TempDir(), "127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0")
		for i, prefix := range []string{"127.0.0.1:", "127.0.0.2:", "127.0.0.3:"} {
			if got := etcd.Endpoints()[i]; !strings.HasPrefix(got, prefix) || strings.HasSuffix(got, ":0") {
				t.Errorf("endpoint %d is %s, want it to begin with %s", i, got, prefix)
			}
		}
	}
}

func TestDataOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	etcd := start(t, dir, "127.0.0.1:0")
	if _, err := etcd.Client().Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if err := etcd.Close(); err != nil {
		t.Fatal(err)
	}
	resp, err := start(t, dir, "127.0.0.1:0").Client().Get(t.Context(), "k")
	if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "v" {
		t.Errorf("after the restart k is %v (%v)", resp.Kvs, err)
	}
}

// A client that holds a watch open does not hold the end up.
func TestCloseIsQuickUnderAWatch(t *testing.T) {
	etcd := start(t, t.TempDir(), "127.0.0.1:0")
	client, err := clientv3.New(clientv3.Config{Endpoints: etcd.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	watch := client.Watch(t.Context(), "", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-watch
	closed := make(chan error, 1)
	go func() { closed <- etcd.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(fixtures.Patience):
		t.Error("etcd is still closing after 5 s")
	}
}
