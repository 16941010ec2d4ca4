package patroni_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
)

// The values as Patroni 4.0.7 wrote them, and one as 3.0 did.
const (
	leaderJSON   = `{"conn_url":"postgres://172.17.0.1:25540/postgres","api_url":"http://172.17.0.1:25541/patroni","state":"running","role":"primary","version":"4.0.7","checkpoint_after_promote":false,"xlog_location":50333536,"timeline":2}`
	replicaJSON  = `{"conn_url":"postgres://172.17.0.1:25538/postgres","api_url":"http://172.17.0.1:25539/patroni","state":"running","role":"replica","version":"4.0.7","xlog_location":50333536,"replication_state":"streaming","timeline":1,"tags":{"nosync":true}}`
	creatingJSON = `{"conn_url":"postgres://172.17.0.1:25538/postgres","api_url":"http://172.17.0.1:25539/patroni","state":"creating replica","role":"uninitialized","version":"4.0.7"}`
	oldJSON      = `{"conn_url":"postgres://10.0.0.1:5432/postgres","api_url":"http://10.0.0.1:8008/patroni","state":"running","role":"master","version":"3.0.4","xlog_location":1,"timeline":1,"pending_restart":true,"proxy_url":"?"}`
)

func decodeMember(t *testing.T, text string) patroni.Member {
	t.Helper()
	m, err := state.JSON[patroni.Member]([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Members write their keys all the time, mostly to say that their WAL has moved
// on. That comes into the picture, and only what else changes is told.
func TestMembersTellNoPositions(t *testing.T) {
	t.Parallel()
	client := fixtures.Etcd(t)
	schema := state.NewSchema()
	members := patroni.Members(schema)
	told := make(chan int, 100)
	e, err := state.NewEngine(state.EngineConfig{Client: client, Schema: schema, Log: fixtures.Log(t), Reactor: tick(func() {
		told <- len(slices.Collect(members.Changed()))
	})})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	running.Go(func() { _ = e.Run(ctx) })
	defer running.Wait()
	defer cancel()
	<-told // of the first picture
	for _, step := range []struct {
		text string
		news bool
	}{
		{replicaJSON, true},
		{strings.Replace(replicaJSON, "50333536", "50333999", 1), false},
		{creatingJSON, true},
		{strings.Replace(replicaJSON, "50333536", "50334000", 1), true},
		{strings.Replace(replicaJSON, "50333536", "50334001", 1), false},
		{strings.Replace(replicaJSON, `{"nosync":true}`, `{"nosync":false}`, 1), true},
	} {
		if _, err := client.Put(ctx, state.MemberKey("f1", "n1"), step.text); err != nil {
			t.Fatal(err)
		}
		if err := e.Await(ctx, func() bool {
			got, _ := members.Get("f1", "n1")
			return cmp.Equal(got.Value, decodeMember(t, step.text))
		}); err != nil {
			t.Fatal(err)
		}
		if step.news {
			select {
			case <-told:
			case <-time.After(fixtures.Patience):
				t.Fatalf("no Tick came for %s", step.text)
			}
		}
	}
	if n := len(told); n != 0 {
		t.Errorf("%d Ticks more than there was news", n)
	}
}

// tick is a reactor that only looks.
type tick func()

func (look tick) Tick(context.Context, state.Tick) ([]state.Group, error) { look(); return nil, nil }

func TestMember(t *testing.T) {
	type traits struct{ Primary, Running, Streaming, PastCheckpoint bool }
	for name, test := range map[string]struct {
		text string
		want traits
	}{
		"leader after promotion": {leaderJSON, traits{Primary: true, Running: true}},
		"replica":                {replicaJSON, traits{Running: true, Streaming: true, PastCheckpoint: true}},
		"new":                    {creatingJSON, traits{PastCheckpoint: true}},
		"Patroni 3":              {oldJSON, traits{Primary: true, Running: true, PastCheckpoint: true}},
	} {
		t.Run(name, func(t *testing.T) {
			m := decodeMember(t, test.text)
			got := traits{m.IsPrimary(), m.IsRunning(), m.IsStreaming(), m.PastCheckpoint()}
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestMemberFields(t *testing.T) {
	want := patroni.Member{
		ConnURL: "postgres://172.17.0.1:25538/postgres", APIURL: "http://172.17.0.1:25539/patroni",
		Role: "replica", State: "running", Version: "4.0.7", Timeline: 1, XlogLocation: 50333536,
		ReplicationState: "streaming", Tags: map[string]any{"nosync": true},
	}
	if diff := cmp.Diff(want, decodeMember(t, replicaJSON)); diff != "" {
		t.Errorf("member differs (-want +got):\n%s", diff)
	}
}

func TestMemberAddr(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://172.17.0.1:25540/postgres": "172.17.0.1:25540",
		"postgres://db.example/postgres":       "db.example:5432",
		"postgres://[fd00::1]:6432/postgres":   "[fd00::1]:6432",
		"postgres:///postgres":                 "",
		"":                                     "",
		"::":                                   "",
	} {
		got, err := patroni.Member{ConnURL: url}.Addr()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q and error %v, want %q", url, got, err, want)
		}
	}
}

func TestSync(t *testing.T) {
	for text, want := range map[string]patroni.Sync{
		`{"leader":"a","quorum":0,"sync_standby":"b"}`:    {Leader: "a", Standbys: []string{"b"}},
		`{"leader":"a","quorum":0,"sync_standby":"b,c"}`:  {Leader: "a", Standbys: []string{"b", "c"}},
		`{"leader":"a","quorum":0,"sync_standby":null}`:   {Leader: "a"},
		`{"leader":null,"quorum":0,"sync_standby":null}`:  {},
		`{"leader":"a","sync_standby":" b , ","x":[1,2]}`: {Leader: "a", Standbys: []string{"b"}},
	} {
		var got patroni.Sync
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", text, diff)
		}
	}
	s := patroni.Sync{Standbys: []string{"b", "c"}}
	if !s.Names("C") || s.Names("a") || s.Names("") {
		t.Error("Names does not tell who is a standby")
	}
}

// Whatever stands in etcd must not end a process that reads it.
func FuzzMember(f *testing.F) {
	for _, seed := range []string{leaderJSON, replicaJSON, creatingJSON, oldJSON, `{"leader":"a","sync_standby":"b"}`, `[]`, `null`, `{"tags":null}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := state.JSON[patroni.Member](b); err == nil {
			m.Addr()
			m.IsStreaming()
			m.PastCheckpoint()
		}
		if s, err := state.JSON[patroni.Sync](b); err == nil && s.Names("") {
			t.Errorf("%s names nobody as a standby", b)
		}
	})
}
