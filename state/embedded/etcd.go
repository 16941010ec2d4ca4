// Package embedded runs etcd inside the process: for development, where one
// machine is the whole site, and for tests. A site that matters runs an etcd
// cluster of its own.
package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/pgpatron/pgpatron/state"
)

// Config configures an embedded etcd.
type Config struct {
	// DataDir holds its data; it is made if missing.
	DataDir string
	// Listen are the host:port addresses at which clients reach it. Port 0
	// takes any free one.
	Listen []string
	// Name and Peers make it a member of a cluster: Peers has the peer
	// host:port of every member by name, its own among them. Default: it is
	// alone.
	Name  string
	Peers map[string]string
	// Joins says that the cluster is there already and was told of this member,
	// which has no data yet.
	Joins bool
	// QuotaBytes bounds its store. Default: 2 GiB, etcd's own.
	QuotaBytes int64
	// TLS, if set, has clients connect over TLS, and show a certificate of its
	// authority. Client then is one of them.
	TLS *TLS
}

// TLS names PEM files. Cert is good both for the etcd and for its own client.
type TLS struct {
	CA, Cert, Key string
}

// Etcd is a running embedded etcd. Close ends it.
type Etcd struct {
	server    *embed.Etcd
	client    *clientv3.Client
	endpoints []string
	close     func() error

	// mu guards serving: the gRPC servers that clients are connected to.
	mu      sync.Mutex
	serving []*grpc.Server
}

// Start runs an etcd and returns when it serves, or when ctx ends.
func Start(ctx context.Context, cfg Config) (*Etcd, error) {
	ec, err := config(cfg)
	if err != nil {
		return nil, err
	}
	e := &Etcd{}
	e.close = sync.OnceValue(e.end)
	ec.ServiceRegister = e.note
	server, err := embed.StartEtcd(ec)
	if err != nil {
		return nil, fmt.Errorf("starting embedded etcd in %s: %w", cfg.DataDir, err)
	}
	e.server = server
	select {
	case <-server.Server.ReadyNotify():
	case err := <-server.Err():
		server.Close()
		return nil, fmt.Errorf("starting embedded etcd in %s: %w", cfg.DataDir, err)
	case <-ctx.Done():
		server.Close()
		return nil, fmt.Errorf("starting embedded etcd in %s: %w", cfg.DataDir, context.Cause(ctx))
	}
	e.endpoints = bound(cfg.Listen, server.Clients)
	access := state.Access{Endpoints: e.endpoints[:1]}
	if t := cfg.TLS; t != nil {
		access.CAFile, access.CertFile, access.KeyFile = t.CA, t.Cert, t.Key
	}
	if e.client, err = access.Dial(); err != nil {
		server.Close()
		return nil, err
	}
	if err := e.awaitListeners(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// awaitListeners returns when every endpoint answers. Until then etcd is still
// setting them up, and could not be closed.
func (e *Etcd) awaitListeners(ctx context.Context) error {
	for _, endpoint := range e.endpoints {
		if _, err := e.client.Status(ctx, endpoint); err != nil {
			return fmt.Errorf("starting embedded etcd: %s does not answer: %w", endpoint, err)
		}
	}
	return nil
}

func config(cfg Config) (*embed.Config, error) {
	ec := embed.NewConfig()
	ec.Dir = cfg.DataDir
	// What matters is told by errors; etcd calls its own end an error, too.
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	ec.Name = cmp.Or(cfg.Name, "pgpatron")
	ec.QuotaBackendBytes = cfg.QuotaBytes
	// The least there is: users, whose passwords are made by chance, log in often
	// and on machines that have much else to do.
	ec.BcryptCost = 4
	ec.AutoCompactionMode = embed.CompactorModePeriodic
	ec.AutoCompactionRetention = "1h"
	scheme := "http://"
	if t := cfg.TLS; t != nil {
		scheme = "https://"
		ec.ClientTLSInfo = transport.TLSInfo{CertFile: t.Cert, KeyFile: t.Key, TrustedCAFile: t.CA, ClientCertAuth: true}
	}
	var clients []url.URL
	for _, addr := range cfg.Listen {
		u, err := url.Parse(scheme + addr)
		if err != nil {
			return nil, fmt.Errorf("embedded etcd: address %q: %w", addr, err)
		}
		clients = append(clients, *u)
	}
	ec.ListenClientUrls, ec.AdvertiseClientUrls = clients, clients
	// A single member talks to no peer: any free port on loopback will do.
	peer := url.URL{Scheme: "http", Host: cmp.Or(cfg.Peers[ec.Name], "127.0.0.1:0")}
	ec.ListenPeerUrls, ec.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
	if len(cfg.Peers) > 0 {
		ec.InitialCluster = initialCluster(cfg.Peers)
	}
	if cfg.Joins {
		ec.ClusterState = embed.ClusterStateFlagExisting
	}
	return ec, nil
}

// initialCluster spells the members as etcd wants them.
func initialCluster(peers map[string]string) string {
	var members []string
	for name, addr := range peers {
		members = append(members, name+"=http://"+addr)
	}
	return strings.Join(members, ",")
}

// bound returns the addresses of the listeners in the order of listen: etcd
// keeps them in none.
func bound(listen []string, listeners []net.Listener) []string {
	var out []string
	for _, addr := range listen {
		want, err := netip.ParseAddrPort(addr)
		i := slices.IndexFunc(listeners, func(l net.Listener) bool {
			got, errGot := netip.ParseAddrPort(l.Addr().String())
			return err == nil && errGot == nil && got.Addr() == want.Addr() && (want.Port() == 0 || got.Port() == want.Port())
		})
		if i >= 0 {
			addr = listeners[i].Addr().String()
		}
		out = append(out, addr)
	}
	return out
}

// Client returns a client of the etcd; it ends with Close.
func (e *Etcd) Client() *clientv3.Client { return e.client }

// Endpoints returns the host:port addresses at which it listens, in the order
// of Config.Listen.
func (e *Etcd) Endpoints() []string { return e.endpoints }

// Err reports the etcd's end by itself.
func (e *Etcd) Err() <-chan error { return e.server.Err() }

// note remembers a gRPC server that etcd makes.
func (e *Etcd) note(s *grpc.Server) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serving = append(e.serving, s)
}

// Close ends the etcd and returns when it is gone. It may be called again.
func (e *Etcd) Close() error { return e.close() }

func (e *Etcd) end() error {
	err := e.client.Close()
	e.mu.Lock()
	serving := slices.Clone(e.serving)
	e.mu.Unlock()
	// Left to itself, etcd waits seconds for clients to end their watches.
	for _, s := range serving {
		s.Stop()
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		e.server.Close()
	}()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		err = errors.Join(err, errors.New("embedded etcd does not stop"))
	}
	return err
}
