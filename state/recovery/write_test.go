package recovery_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/copies"
	"github.com/pgpatron/pgpatron/state/recovery"
)

func get(t *testing.T, client *clientv3.Client, key string) string {
	t.Helper()
	resp, err := client.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}

func put(t *testing.T, client *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := client.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

// twoInstances is a plan for two instances, of which the first has many bindings.
func twoInstances(t *testing.T) recovery.Plan {
	s := newScene(t)
	s.answered("b1")
	v := s.volume("n1", 10, cluster("a", 30000, "n1"))
	for i := range 200 {
		v.Copy.Records = append(v.Copy.Records, copies.Record{Key: state.BindingKey("a", string(rune('A'+i))), Value: []byte("{}")})
	}
	s.volume("m1", 10, cluster("b", 30001, "m1"))
	return s.plan(recovery.Choices{})
}

// TestWriteIsRepeated: one that was cut short anywhere is done again, and one that
// is done changes nothing.
func TestWriteIsRepeated(t *testing.T) {
	client := fixtures.Etcd(t)
	for _, r := range twoInstances(t).Instances[0].Records[:70] {
		put(t, client, r.Key, string(r.Value))
	}
	put(t, client, state.InitializeKey("b"), "Patroni was faster")
	put(t, client, state.LossKey("b1"), "{}")
	for range 2 {
		again := twoInstances(t)
		again.Before = get(t, client, state.SiteKey())
		if err := again.Write(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	for _, in := range twoInstances(t).Instances {
		for _, r := range in.Records {
			if got := get(t, client, r.Key); got != string(r.Value) {
				t.Fatalf("%s is %q", r.Key, got)
			}
		}
	}
	if a, b := get(t, client, state.InitializeKey("a")), get(t, client, state.InitializeKey("b")); a != "7001" || b != "Patroni was faster" {
		t.Errorf("the system identifiers are %q and %q", a, b)
	}
	if site, era := get(t, client, state.SiteKey()), get(t, client, state.EraKey()); site != "here" || era != "1" {
		t.Errorf("site %q, era %q", site, era)
	}
	if got := get(t, client, state.LossKey("b1")); got != "" {
		t.Errorf("%s would still say that the records are lost", got)
	}
}

// TestWriteChangesNothingThatIsThere: and then the site stays closed.
func TestWriteChangesNothingThatIsThere(t *testing.T) {
	client := fixtures.Etcd(t)
	put(t, client, state.ClusterKey("b"), "somebody else's")
	if err := twoInstances(t).Write(t.Context(), client); err == nil {
		t.Error("a record that is there was passed over")
	}
	if got := get(t, client, state.ClusterKey("b")); got != "somebody else's" || get(t, client, state.SiteKey()) != "" {
		t.Errorf("the record is %q, the site %q", got, get(t, client, state.SiteKey()))
	}
}

func TestUndecidedPlanIsNotWritten(t *testing.T) {
	client := fixtures.Etcd(t)
	p := twoInstances(t)
	p.Problems = []recovery.Problem{{Text: "a", Way: "b"}}
	if err := p.Write(t.Context(), client); !errors.Is(err, recovery.ErrUndecided) || get(t, client, state.ClusterKey("a")) != "" {
		t.Errorf("got %v", err)
	}
}

// TestGather waits for the backends that the copies name, and takes no answer to an
// earlier question.
func TestGather(t *testing.T) {
	client := fixtures.Etcd(t)
	answer := func(request, backend string, s *scene) {
		for _, v := range s.Volumes {
			if v.Backend != backend {
				continue
			}
			v.Found.Request = request
			raw, err := v.Copy.Encode(nil)
			if err != nil {
				t.Fatal(err)
			}
			v.Found.Copy = raw
			putJSON(t, client, state.CopyKey(backend, v.Node), v.Found)
		}
		putJSON(t, client, state.AnswerKey(backend), copies.Answer{Request: request, Backend: backend})
	}
	s := newScene(t)
	s.volume("n1", 10, cluster("a", 30000, "n1", "n2"))
	s.volume("n2", 20, cluster("a", 30000, "n1", "n2"))
	answer("old", "b1", s)
	answer("old", "b2", s)
	gather := func(patience time.Duration) recovery.Evidence {
		t.Helper()
		e, err := recovery.Gather(t.Context(), client, nil, "new", patience)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := gather(time.Millisecond); len(e.Answers) != 0 || len(e.Volumes) != 0 {
		t.Errorf("answers to an earlier question: %+v", e)
	}
	answer("new", "b1", s)
	if e := gather(time.Millisecond); len(e.Answers) != 1 || len(e.Volumes) != 1 || !e.Volumes[0].Readable {
		t.Errorf("one backend has answered: %+v", e)
	}
	answer("new", "b2", s)
	put(t, client, state.SiteKey(), "fresh")
	e := gather(time.Hour)
	if len(e.Answers) != 2 || len(e.Volumes) != 2 || e.Volumes[0].Node != "n2" || e.Site != "fresh" {
		t.Errorf("both have answered: %+v", e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := recovery.Gather(ctx, client, nil, "new", time.Hour); err == nil {
		t.Error("it goes on when it is told to end")
	}
}

func putJSON(t *testing.T, client *clientv3.Client, key string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	put(t, client, key, string(b))
}
