package broker_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/federation"
	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/sealed"
)

// Fence remembers that nobody is let into an instance.
func (d *database) Fence(_ context.Context, c state.Cluster, _ string) (lsn int64, err error) {
	err = d.with(func() {
		if d.fenced == nil {
			d.fenced = map[string]bool{}
		}
		d.fenced[c.InstanceID], lsn = true, max(d.lsn, 1)
	})
	return lsn, err
}

// Unfence lets everybody in.
func (d *database) Unfence(_ context.Context, c state.Cluster, _ string) error {
	return d.with(func() { delete(d.fenced, c.InstanceID) })
}

func (d *database) isFenced(instance string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fenced[instance]
}

// newSisters starts two sites of a federation, dc-0 and dc-1, each with a broker
// and the federation's real processes.
func newSisters(t *testing.T) (a, b *site) {
	t.Helper()
	t.Parallel()
	authority := fixtures.NewAuthority(t)
	a, _ = newSister(t, authority, "dc-0")
	b, address := newSister(t, authority, "dc-1")
	cert, key := authority.Issue(t, "dc-0")
	client, err := federation.NewClient("dc-0", a.federation, federation.Files{Cert: cert, Key: key, CA: authority.CA()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Add(t.Context(), federation.Peer{DC: "dc-1", Address: address}, "open"); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func newSister(t *testing.T, authority *fixtures.Authority, dc string) (s *site, address string) {
	t.Helper()
	s = prepareSite(t, dc+"-h1", dc+"-h2")
	s.config.GlobalPorts, s.config.RouterHost = &federation.GlobalPorts{}, dc+".example"
	s.config.ReadOnlyPorts = true
	s.config.Seal = sealed.NewRing(sealed.NewKey([32]byte{dc[3]}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.federation = l.Addr().String()
	l.Close()
	cert, key := authority.Issue(t, dc)
	f, err := federation.New(federation.Config{
		DC: dc, Listen: s.federation, Files: federation.Files{Cert: cert, Key: key, CA: authority.CA()}, JoinToken: "open",
		Ports: s.config.Ports, Lease: 10 * time.Second, Interval: 50 * time.Millisecond, Log: s.config.Log,
	}, s.client)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("federation of %s: %v", dc, err)
		}
	}))
	if _, err := f.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.awaitBackend()
	return s, s.federation
}

// provisionGlobal makes an instance with a global port, and a login.
func (s *site) provisionGlobal(id string) (login binding) {
	s.t.Helper()
	body := order(clusterPlan)
	body["parameters"] = map[string]any{"global": true}
	var r reply
	s.poll("the federation answers", func() bool {
		r = s.call("PUT", async(id), body)
		return r.status == http.StatusAccepted
	})
	s.await(id, r.field(s.t, "operation"), "succeeded")
	return s.want(s.call("PUT", bindingPath(id, "b"), bindOrder(clusterPlan, nil)), http.StatusCreated).bound(s.t)
}

// note returns what is said at a site about the move of an instance, the zero
// note if nothing.
func (s *site) note(id, side string) state.MoveNote {
	s.t.Helper()
	resp, err := s.client.Get(s.t.Context(), state.FederationMoveKey(id, side))
	if err != nil {
		s.t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return state.MoveNote{}
	}
	n, err := state.JSON[state.MoveNote](resp.Kvs[0].Value)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// exists reports whether etcd has a key.
func (s *site) exists(key string) bool {
	s.t.Helper()
	resp, err := s.client.Get(s.t.Context(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	return len(resp.Kvs) > 0
}
