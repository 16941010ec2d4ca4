package main

import (
	"context"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// connect returns a client of the site's etcd, or says in words why it can not
// be used.
func connect(ctx context.Context, endpoints []string) (*clientv3.Client, error) {
	client, err := state.Dial(endpoints)
	if err != nil {
		return nil, err
	}
	if err := state.Check(ctx, client); err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

// urls returns the endpoints as URLs, as Patroni wants them.
func urls(endpoints []string) []string {
	var out []string
	for _, e := range endpoints {
		if !strings.Contains(e, "://") {
			e = "http://" + e
		}
		out = append(out, e)
	}
	return out
}
