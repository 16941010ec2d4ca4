package state_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/embedded"
)

// losable is an etcd whose data a test may lose.
type losable struct {
	t    *testing.T
	addr string
	etcd *embedded.Etcd
}

func newLosable(t *testing.T) *losable {
	l := &losable{t: t, addr: fixtures.FreeAddrs(t, "127.0.0.1", 1)[0]}
	l.start()
	t.Cleanup(func() { l.etcd.Close() })
	return l
}

func (l *losable) start() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	var err error
	l.etcd, err = embedded.Start(ctx, embedded.Config{DataDir: filepath.Join(l.t.TempDir(), "etcd"), Listen: []string{l.addr}})
	if err != nil {
		l.t.Fatal(err)
	}
}

// lose has an empty etcd answer in the old one's place.
func (l *losable) lose() {
	l.t.Helper()
	l.etcd.Close()
	l.start()
}

func (l *losable) put(key, value string) {
	l.t.Helper()
	if _, err := l.etcd.Client().Put(l.t.Context(), key, value); err != nil {
		l.t.Fatal(err)
	}
}

func (l *losable) engine(site string) (*state.Engine, *state.Table[string]) {
	l.t.Helper()
	schema := state.NewSchema()
	ports := state.Register(schema, state.PortPattern, state.Text)
	engine, _ := fixtures.RunEngine(l.t, state.EngineConfig{
		Client: fixtures.EtcdClient(l.t, l.addr), Schema: schema, Name: "test", Site: site,
		SessionTTL: 2 * time.Second, SilenceTimeout: time.Second,
	})
	return engine, ports
}

func holder(ports *state.Table[string]) string {
	e, _ := ports.Get("30000")
	return e.Value
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(fixtures.Patience); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestEmptiedEtcdIsRecognised: the picture stays, nothing is written, and the
// contents count again when the site's id is back in a later era, though they have
// lower revisions than the picture.
func TestEmptiedEtcdIsRecognised(t *testing.T) {
	l := newLosable(t)
	l.put(state.SiteKey(), "here")
	for range 50 {
		l.put(state.PortKey(30000), "a")
	}
	engine, ports := l.engine("")
	if err := engine.Await(t.Context(), func() bool { return holder(ports) == "a" }); err != nil {
		t.Fatal(err)
	}
	recognise := engine.Recognise()
	if resp, err := l.etcd.Client().Get(t.Context(), state.SiteKey()); err != nil || recognise(resp.Header) != nil {
		t.Errorf("an answer of the engine's own etcd: %v, %v", err, recognise(resp.Header))
	}
	l.lose()
	if resp, err := l.etcd.Client().Get(t.Context(), state.SiteKey()); err != nil || !errors.Is(recognise(resp.Header), state.ErrReplaced) {
		t.Errorf("an answer of an emptied etcd is taken for the engine's own: %v", err)
	}
	until(t, "the loss is seen", func() bool { return engine.Held() != nil })
	put := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return engine.Do(ctx, state.Group{Name: "put", Apply: func(tx *state.Tx) error {
			tx.Put(state.PortKey(30001), []byte("b"))
			return nil
		}})
	}
	if err := put(); !errors.Is(err, state.ErrReplaced) {
		t.Errorf("writing into an etcd that lost everything: %v", err)
	}
	l.put(state.SiteKey(), "elsewhere")
	l.put(state.EraKey(), "1")
	l.put(state.PortKey(30000), "elsewhere's")
	engine.View(func() {
		if got := holder(ports); got != "a" {
			t.Errorf("port 30000 is held by %q in the picture, want a", got)
		}
	})
	if engine.Held() == nil {
		t.Error("another site's etcd was taken for ours")
	}
	l.put(state.PortKey(30000), "back")
	l.put(state.SiteKey(), "here")
	if err := engine.Await(t.Context(), func() bool { return holder(ports) == "back" }); err != nil {
		t.Fatal(err)
	}
	until(t, "groups are committed again", func() bool { return put() == nil })
}

// TestEtcdOfAnEarlierDay: one that a backup was restored into serves the same site,
// and still is not what it was until the era says so.
func TestEtcdOfAnEarlierDay(t *testing.T) {
	l := newLosable(t)
	l.put(state.SiteKey(), "here")
	l.put(state.PortKey(30000), "new")
	engine, ports := l.engine("")
	if err := engine.Await(t.Context(), func() bool { return holder(ports) == "new" }); err != nil {
		t.Fatal(err)
	}
	l.lose()
	l.put(state.SiteKey(), "here")
	until(t, "the loss is seen", func() bool { return engine.Held() != nil })
	l.put(state.PortKey(30000), "old")
	l.put(state.EraKey(), "1")
	if err := engine.Await(t.Context(), func() bool { return holder(ports) == "old" }); err != nil {
		t.Fatal(err)
	}
}

// TestEngineWaitsForItsSite: one that was told of which site it is has no picture
// before etcd serves it.
func TestEngineWaitsForItsSite(t *testing.T) {
	l := newLosable(t)
	engine, ports := l.engine("here")
	until(t, "the engine says what it waits for", func() bool { return engine.Held() != nil })
	select {
	case <-engine.Ready():
		t.Fatal("it has a picture")
	default:
	}
	if _, err := l.etcd.Client().Txn(t.Context()).Then(clientv3.OpPut(state.PortKey(30000), "a"), clientv3.OpPut(state.SiteKey(), "here")).Commit(); err != nil {
		t.Fatal(err)
	}
	if err := engine.Await(t.Context(), func() bool { return holder(ports) == "a" }); err != nil {
		t.Fatal(err)
	}
	if engine.Site() != "here" || engine.Held() != nil {
		t.Errorf("site %q, held: %v", engine.Site(), engine.Held())
	}
}
