package copies_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/copies"
	"github.com/pgpatron/pgpatron/state/sealed"
)

const word = "correct horse"

var subject = copies.Subject{Site: "here", Instance: "a", Node: "n1", Backend: "b1"}

// filled returns an etcd with an instance of all that is copied, and its neighbours.
func filled(t *testing.T) *clientv3.Client {
	t.Helper()
	client := fixtures.Etcd(t)
	record, err := json.Marshal(state.Cluster{InstanceID: "a", AllocatedPort: 30000, SuperuserCredentials: state.Credentials{Username: "postgres", Password: word}})
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		state.EraKey(): "2", state.ClusterKey("a"): string(record), state.InitializeKey("a"): "7001", state.ConfigKey("a"): "{}",
		state.AllocationKey("a"): "30000", state.ReadOnlyKey("a"): "30001", state.InstanceKey("a"): "{}",
		state.BindingKey("a", "x"): `{"binding_id":"x"}`, state.DatasourceKey("a", "n1"): state.Disabled,
		state.CordonKey("b1"): state.Disabled,
		// The neighbours.
		state.ClusterKey("ab"): "{}", state.BindingKey("ab", "x"): "{}", state.DatasourceKey("ab", "n9"): state.Disabled,
		state.CordonKey("b2"): state.Disabled, state.LeaderKey("a"): "n1",
	} {
		if _, err := client.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	return client
}

func take(t *testing.T) copies.Copy {
	t.Helper()
	c, err := copies.Take(t.Context(), filled(t), subject)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func keys(n byte) *sealed.Ring { return sealed.NewRing(sealed.NewKey([32]byte{n})) }

func TestCopyHoldsAllOfTheInstanceAndNothingElse(t *testing.T) {
	c := take(t)
	var got []string
	for _, r := range append(c.Records, c.Host...) {
		got = append(got, r.Key)
	}
	want := []string{
		state.ClusterKey("a"), state.InitializeKey("a"), state.ConfigKey("a"), state.AllocationKey("a"), state.ReadOnlyKey("a"),
		state.InstanceKey("a"), state.BindingKey("a", "x"), state.DatasourceKey("a", "n1"), state.CordonKey("b1"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if c.Era != 2 || c.Revision == 0 {
		t.Errorf("the copy is of %+v", c.Age)
	}
}

func TestNoRecordNoCopy(t *testing.T) {
	if _, err := copies.Take(t.Context(), fixtures.Etcd(t), subject); !errors.Is(err, copies.ErrNoRecord) {
		t.Errorf("got %v", err)
	}
}

func TestSealedCopyOpensWithItsKeyAndAsWhatItIs(t *testing.T) {
	c, k := take(t), keys(1)
	b, err := c.Encode(k)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), word) || strings.Contains(string(b), "binding_id") {
		t.Errorf("it can be read: %s", b)
	}
	got, err := copies.Decode(b, k)
	if err != nil || !got.Alike(c) || got.Bare {
		t.Errorf("opened: %+v, %v", got, err)
	}
	if got, err := copies.Decode(b, keys(2)); !errors.Is(err, copies.ErrSealed) || got.Age != c.Age {
		t.Errorf("with another key: %+v, %v", got, err)
	}
	newer := strings.Replace(string(b), `"era":2`, `"era":3`, 1)
	if _, err := copies.Decode([]byte(newer), k); !errors.Is(err, copies.ErrSealed) {
		t.Errorf("one that was made to look newer: %v", err)
	}
	if _, err := copies.Decode(b[:len(b)/2], k); err == nil {
		t.Error("half a copy was taken for one")
	}
}

func TestWithoutAKeyACopyHoldsNoPassword(t *testing.T) {
	c := take(t)
	b, err := c.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := copies.Decode(b, nil)
	if err != nil || !got.Bare {
		t.Fatalf("%+v, %v", got, err)
	}
	cluster, err := got.Cluster()
	if err != nil || cluster.AllocatedPort != 30000 || cluster.SuperuserCredentials != (state.Credentials{Username: "postgres"}) {
		t.Errorf("the record is %+v, %v", cluster, err)
	}
	if original, err := c.Cluster(); err != nil || original.SuperuserCredentials.Password != word {
		t.Errorf("the copy that was encoded has changed: %v", err)
	}
}

func TestAges(t *testing.T) {
	order := []copies.Age{{Era: 0, Revision: 5}, {Era: 0, Revision: 900}, {Era: 1, Revision: 3}}
	for i, a := range order {
		for j, b := range order {
			if got := a.Compare(b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%+v to %+v: %d", a, b, got)
			}
		}
	}
}
