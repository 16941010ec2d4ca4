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

const word = "correct horse"

func record() state.Cluster {
	login := state.Credentials{Username: "u", Password: word}
	return state.Cluster{
		InstanceID: "a", AllocatedPort: 30000, Version: 1, Nodes: []state.Node{{NodeID: "n"}},
		AdminCredentials: login, SuperuserCredentials: login, ReplicationCredentials: login, RESTCredentials: login,
		AppCredentials: state.Credentials{Username: "owner"},
		LoginChange:    state.LoginChange{LoginEdition: 2, LoginSet: 1, SpareSuperuser: login, SpareReplication: login, SpareAdmin: login, SpareREST: login},
	}
}

func encoded(t *testing.T) string {
	t.Helper()
	b, err := json.Marshal(record())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pair returns a wrapped client of an etcd and one that is not.
func pair(t *testing.T) (with, without *clientv3.Client, file sealed.File) {
	t.Helper()
	endpoint := fixtures.EtcdServer(t).Endpoints()[0]
	file = keyFile(t, lineOf('a'))
	with, without = fixtures.EtcdClient(t, endpoint), fixtures.EtcdClient(t, endpoint)
	open(t, file).Wrap(with)
	return with, without, file
}

func get(t *testing.T, client *clientv3.Client, key string) string {
	t.Helper()
	resp, err := client.Get(t.Context(), key)
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("%v %v", resp, err)
	}
	return string(resp.Kvs[0].Value)
}

func wantRecord(t *testing.T, value string) {
	t.Helper()
	got, err := state.JSON[state.Cluster]([]byte(value))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(record(), got); diff != "" {
		t.Error(diff)
	}
}

// However a record is written, etcd has it sealed; however it is read, it is plain.
func TestRecordsAreSealedInEtcd(t *testing.T) {
	key := state.ClusterKey("a")
	for name, put := range map[string]func(*clientv3.Client) error{
		"put": func(c *clientv3.Client) error { _, err := c.Put(t.Context(), key, encoded(t)); return err },
		"then": func(c *clientv3.Client) error {
			_, err := c.Txn(t.Context()).Then(clientv3.OpPut(key, encoded(t))).Commit()
			return err
		},
		"else": func(c *clientv3.Client) error {
			_, err := c.Txn(t.Context()).If(clientv3.Compare(clientv3.Version("/x"), ">", 0)).Else(clientv3.OpPut(key, encoded(t))).Commit()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			with, without, _ := pair(t)
			watch := with.Watch(t.Context(), key)
			if err := put(with); err != nil {
				t.Fatal(err)
			}
			raw := get(t, without, key)
			if strings.Contains(raw, word) || strings.Count(raw, "sealed:") != 8 {
				t.Errorf("etcd has %s", raw)
			}
			wantRecord(t, get(t, with, key))
			wantRecord(t, string((<-watch).Events[0].Kv.Value))
			resp, err := with.Txn(t.Context()).Then(clientv3.OpGet(key)).Commit()
			if err != nil {
				t.Fatal(err)
			}
			wantRecord(t, string(resp.Responses[0].GetResponseRange().Kvs[0].Value))
		})
	}
}

// The private key of a node's certificate is no plainer than a password.
func TestPrivateKeysAreSealedInEtcd(t *testing.T) {
	with, without, _ := pair(t)
	key := state.CertificateKey("a", "n")
	wanted := state.Certificate{InstanceID: "a", NodeID: "n", Certificate: "public", PrivateKey: word}
	b, err := json.Marshal(wanted)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := with.Put(t.Context(), key, string(b)); err != nil {
		t.Fatal(err)
	}
	if raw := get(t, without, key); strings.Contains(raw, word) || strings.Count(raw, "sealed:") != 1 || !strings.Contains(raw, "public") {
		t.Errorf("etcd has %s", raw)
	}
	got, err := state.JSON[state.Certificate]([]byte(get(t, with, key)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Error(diff)
	}
}

func TestPlainRecordIsReadAndSealedByItsNextWrite(t *testing.T) {
	with, without, _ := pair(t)
	key := state.ClusterKey("a")
	if _, err := without.Put(t.Context(), key, encoded(t)); err != nil {
		t.Fatal(err)
	}
	value := get(t, with, key)
	wantRecord(t, value)
	if _, err := with.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
	if raw := get(t, without, key); strings.Contains(raw, word) {
		t.Errorf("etcd has %s", raw)
	}
}

func TestOtherKeysStayAsTheyAre(t *testing.T) {
	with, without, _ := pair(t)
	for _, key := range []string{state.LeaderKey("a"), state.InstanceKey("a"), state.ClusterKey("a") + "/more"} {
		if _, err := with.Put(t.Context(), key, encoded(t)); err != nil {
			t.Fatal(err)
		}
		if raw := get(t, without, key); raw != encoded(t) {
			t.Errorf("%s has %s", key, raw)
		}
	}
}

// A new first line seals; the old one opens what it sealed, until it is taken out.
func TestKeysAreRotated(t *testing.T) {
	with, without, file := pair(t)
	key := state.ClusterKey("a")
	if _, err := with.Put(t.Context(), key, encoded(t)); err != nil {
		t.Fatal(err)
	}
	if raw := get(t, without, key); strings.Count(raw, `"sealed_by":"`+idOf('a')+`"`) != 8 {
		t.Errorf("the key is not named: %s", raw)
	}
	for name, test := range map[string]struct {
		content string
		opens   bool
	}{"both": {lineOf('b') + lineOf('a'), true}, "the new one alone": {lineOf('b'), false}} {
		t.Run(name, func(t *testing.T) {
			rewrite(t, file, test.content)
			client := fixtures.EtcdClient(t, without.Endpoints()[0])
			open(t, file).Wrap(client)
			got := get(t, client, key)
			if opened := !strings.Contains(got, "sealed:"); opened != test.opens {
				t.Errorf("opened: %v", opened)
			}
			if named := strings.Contains(got, "sealed_by"); named == test.opens {
				t.Errorf("the key is named: %v", named)
			}
		})
	}
}

// What an earlier version has sealed names no key.
func TestRecordWithoutTheKeysNameIsOpened(t *testing.T) {
	with, without, file := pair(t)
	key := state.ClusterKey("a")
	if _, err := with.Put(t.Context(), key, encoded(t)); err != nil {
		t.Fatal(err)
	}
	nameless := strings.ReplaceAll(get(t, without, key), `,"sealed_by":"`+idOf('a')+`"`, "")
	nameless = strings.ReplaceAll(nameless, `"sealed_by":"`+idOf('a')+`",`, "")
	if strings.Contains(nameless, "sealed_by") {
		t.Fatal(nameless)
	}
	if _, err := without.Put(t.Context(), key, nameless); err != nil {
		t.Fatal(err)
	}
	wantRecord(t, get(t, with, key))
	rewrite(t, file, lineOf('b'), lineOf('a'))
	count, err := sealed.Clusters(open(t, file)).Rotate(t.Context(), without)
	if err != nil || count[idOf('b')] != 1 {
		t.Errorf("%v %v", count, err)
	}
}

// What was sealed for one cluster opens in no other's record.
func TestSealedPasswordOpensWhereItBelongsAlone(t *testing.T) {
	with, without, _ := pair(t)
	if _, err := with.Put(t.Context(), state.ClusterKey("a"), encoded(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := without.Put(t.Context(), state.ClusterKey("b"), get(t, without, state.ClusterKey("a"))); err != nil {
		t.Fatal(err)
	}
	if got := get(t, with, state.ClusterKey("b")); strings.Contains(got, word) {
		t.Errorf("opened elsewhere: %s", got)
	}
}
