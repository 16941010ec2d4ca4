package sealed_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/sealed"
)

func wantCount(t *testing.T, what string, want, got sealed.Count, err error) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%s: %v %s", what, err, diff)
	}
}

func put(t *testing.T, client *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := client.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

// Clusters under an old key, under the new one and plain end under the new one;
// one under a key that is not here stays, and is counted.
func TestClustersAreRotated(t *testing.T) {
	etcd := fixtures.EtcdServer(t).Endpoints()[0]
	raw := fixtures.EtcdClient(t, etcd)
	for id, line := range map[string]string{"old": lineOf('a'), "new": lineOf('b'), "lost": lineOf('c')} {
		client := fixtures.EtcdClient(t, etcd)
		open(t, keyFile(t, line)).Wrap(client)
		put(t, client, state.ClusterKey(id), encoded(t))
	}
	put(t, raw, state.ClusterKey("plain"), encoded(t))
	put(t, raw, state.LeaderKey("plain"), "n")

	ring := open(t, keyFile(t, lineOf('b'), lineOf('a')))
	clusters := sealed.Clusters(ring)
	count, err := clusters.Count(t.Context(), raw)
	wantCount(t, "before", sealed.Count{idOf('a'): 1, idOf('b'): 1, idOf('c'): 1, sealed.Plain: 1}, count, err)
	lost := get(t, raw, state.ClusterKey("lost"))
	count, err = clusters.Rotate(t.Context(), raw)
	wantCount(t, "rotated", sealed.Count{idOf('b'): 3, idOf('c'): 1}, count, err)
	count, err = clusters.Count(t.Context(), raw)
	wantCount(t, "after", sealed.Count{idOf('b'): 3, idOf('c'): 1}, count, err)

	if got := get(t, raw, state.ClusterKey("lost")); sorted(t, got) != sorted(t, lost) {
		t.Errorf("what can not be opened was changed to %s", got)
	}
	if got := get(t, raw, state.ClusterKey("plain")); strings.Contains(got, word) {
		t.Errorf("etcd has %s", got)
	}
	client := fixtures.EtcdClient(t, etcd)
	open(t, keyFile(t, lineOf('b'))).Wrap(client)
	for _, id := range []string{"old", "new", "plain"} {
		wantRecord(t, get(t, client, state.ClusterKey(id)))
	}
}

// sorted spells a JSON object in one order.
func sorted(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Bindings that an earlier version has sealed name no key. What a later version has
// added to the record stays.
func TestBindingsAreRotated(t *testing.T) {
	raw := fixtures.Etcd(t)
	a, _ := key('a')
	b, _ := key('b')
	at := state.BindingKey("i", "b")
	closed, _ := sealed.NewRing(a).Seal(word, at)
	value, err := json.Marshal(map[string]any{"version": 1, "binding_id": "b", "sealed": closed, "later": "stays"})
	if err != nil {
		t.Fatal(err)
	}
	put(t, raw, at, string(value))
	put(t, raw, state.InstanceKey("i"), `{"version":1}`)
	put(t, raw, state.BindingKey("i", "lost"), strings.Replace(string(value), `"b"`, `"lost"`, 1))

	bindings := sealed.Bindings(sealed.NewRing(b, a))
	count, err := bindings.Count(t.Context(), raw)
	wantCount(t, "before", sealed.Count{a.ID(): 1, sealed.Unknown: 1}, count, err)
	count, err = bindings.Rotate(t.Context(), raw)
	wantCount(t, "rotated", sealed.Count{b.ID(): 1, sealed.Unknown: 1}, count, err)

	text := get(t, raw, at)
	record, err := state.JSON[state.Binding]([]byte(text))
	if err != nil || record.SealedBy != b.ID() || !strings.Contains(text, `"later":"stays"`) {
		t.Fatalf("%v %s", err, text)
	}
	if got, err := sealed.NewRing(b).Open(record.Sealed, record.SealedBy, at); err != nil || got.Reveal() != word {
		t.Errorf("opened as %q (%v)", got.Reveal(), err)
	}
}
