package federation_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/federation"
	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// joinToken opens every site of the tests.
const joinToken = state.Secret("let me in")

// site is one data centre of a test: an etcd, and a federation process that
// other sites reach over a link.
type site struct {
	t      *testing.T
	dc     string
	etcd   *clientv3.Client
	cfg    federation.Config
	link   *fixtures.Link
	client *federation.Client
	stop   func()
}

// lease and patience are those of the tests' sites: short, and long enough for
// a machine that is busy.
const (
	lease    = 8 * time.Second
	patience = 3 * time.Second
)

// newSites returns running sites with certificates of one authority.
func newSites(t *testing.T, names ...string) []*site {
	t.Helper()
	authority := fixtures.NewAuthority(t)
	var all []*site
	for _, dc := range names {
		all = append(all, newSite(t, authority, dc))
	}
	return all
}

func newSite(t *testing.T, authority *fixtures.Authority, dc string) *site {
	t.Helper()
	cert, key := authority.Issue(t, dc)
	s := &site{t: t, dc: dc, etcd: fixtures.Etcd(t)}
	listen := fixtures.FreeAddrs(t, "127.0.0.1", 1)[0]
	s.link = fixtures.NewLink(t, listen)
	s.cfg = federation.Config{
		DC: dc, Listen: listen, Address: s.link.Addr(), Files: federation.Files{Cert: cert, Key: key, CA: authority.CA()},
		JoinToken: joinToken, Ports: state.Ports{First: 30000, Last: 30099}, Lease: lease, Patience: patience,
		Interval: 100 * time.Millisecond, Greeting: 300 * time.Millisecond, Grace: time.Hour,
		Hostname: dc, Log: fixtures.Log(t).With("dc", dc),
	}
	var err error
	if s.client, err = federation.NewClient(dc, listen, s.cfg.Files); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	s.start(nil)
	t.Cleanup(func() { s.stop() })
	return s
}

// start runs the site's process. at is told of the steps that it takes.
func (s *site) start(at func(point string)) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	cfg := s.cfg
	if at != nil {
		cfg = cfg.At(at)
	}
	f, err := federation.New(cfg, s.etcd)
	if err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("%s: %v", s.dc, err)
		}
	})
	if _, err := f.Ready(ctx); err != nil {
		s.t.Fatal(err)
	}
}

// dieAt restarts the site's process so that it is killed at a point: whatever
// ran there goes no further, and the process ends. died is closed then.
func (s *site) dieAt(point string) (died chan struct{}) {
	s.stop()
	died = make(chan struct{})
	var once sync.Once
	s.start(func(at string) {
		if at != point {
			return
		}
		once.Do(func() { close(died) })
		runtime.Goexit()
	})
	return died
}

func (s *site) peer() federation.Peer { return federation.Peer{DC: s.dc, Address: s.link.Addr()} }

func (s *site) status() federation.Status {
	s.t.Helper()
	status, err := s.client.Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return status
}

func (s *site) add(other *site) error {
	_, err := s.client.Add(s.t.Context(), other.peer(), joinToken)
	return err
}

func (s *site) mustAdd(others ...*site) {
	s.t.Helper()
	for _, other := range others {
		var err error
		for range 3 {
			if err = s.add(other); err == nil || !strings.Contains(err.Error(), "cannot reach") {
				break // only silence may be the machine's fault
			}
		}
		if err != nil {
			s.t.Fatalf("%s adds %s: %v", s.dc, other.dc, err)
		}
		await(s.t, "all know of "+other.dc, func() bool { return len(s.status().Untold) == 0 })
	}
}

func (s *site) reserve(instance string) (int, error) {
	r, err := s.client.Reserve(s.t.Context(), instance)
	return r.Port, err
}

// put writes a key of the site's etcd as another process would.
func (s *site) put(key, value string) {
	s.t.Helper()
	if _, err := s.etcd.Put(s.t.Context(), key, value); err != nil {
		s.t.Fatal(err)
	}
}

// value reads a key of the site's etcd, empty if there is none.
func (s *site) value(key string) string {
	s.t.Helper()
	resp, err := s.etcd.Get(s.t.Context(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}

// await waits until cond holds.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// agree waits until the sites are members of one federation at one epoch, with
// nothing under way, and returns the epoch.
func agree(t *testing.T, sites ...*site) int {
	t.Helper()
	epoch := 0
	await(t, "the sites agree", func() bool {
		first := sites[0].status()
		epoch = first.Self.Epoch
		for _, s := range sites {
			st := s.status()
			if st.State != federation.Member || len(st.Self.Members) != len(sites) || st.Self.Chain != first.Self.Chain ||
				len(st.Untold) > 0 || len(st.Doubts) > 0 {
				return false
			}
		}
		return true
	})
	return epoch
}
