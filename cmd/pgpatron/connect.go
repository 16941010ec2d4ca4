package main

import (
	"context"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// connect returns a client of the site's etcd, or says in words why it can not
// be used.
func connect(ctx context.Context, etcd state.Access) (*clientv3.Client, error) {
	client, err := etcd.Dial()
	if err != nil {
		return nil, err
	}
	if err := state.Check(ctx, client); err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

// addEtcd adds the settings that every process but dev has.
func addEtcd(s *settings, into *state.Access) {
	add(s, "etcd", &into.Endpoints, "127.0.0.1:2379", "host:port addresses or URLs of the site's etcd, separated by commas", endpoints)
	add(s, "etcd-ca", &into.CAFile, "", "PEM file with the authority of etcd's certificates; with it etcd is spoken to over TLS", text)
	add(s, "etcd-cert", &into.CertFile, "", "PEM file with this process's own certificate, if etcd asks for one", text)
	add(s, "etcd-key", &into.KeyFile, "", "PEM file with the certificate's key", text)
	add(s, "etcd-username", &into.Username, "", "the etcd user that this process logs in as; see pgpatron init etcd", text)
	add(s, "etcd-password", &into.Password, "", "the etcd user's password; better in the environment than here", secret)
}

// urls returns the endpoints as URLs, as Patroni wants them.
func urls(endpoints []string, encrypted bool) []string {
	scheme := "http://"
	if encrypted {
		scheme = "https://"
	}
	var out []string
	for _, e := range endpoints {
		if !strings.Contains(e, "://") {
			e = scheme + e
		}
		out = append(out, e)
	}
	return out
}

// hostOf returns the host:port of an endpoint.
func hostOf(endpoint string) string {
	if _, host, isURL := strings.Cut(endpoint, "://"); isURL {
		return host
	}
	return endpoint
}
