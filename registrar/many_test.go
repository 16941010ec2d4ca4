package registrar_test

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// Two hundred announcements are right again after etcd and then Docker were
// away, and containers died and moved on meanwhile.
func TestManyAnnouncementsThroughOutages(t *testing.T) {
	const nodes = 100
	s := newSite(t)
	link, through := s.behindLink()
	db := cluster("db1")
	for n := range nodes {
		id := fmt.Sprintf("n%d", n)
		db.Nodes = append(db.Nodes, state.Node{NodeID: id, BackendID: testBackend})
		// They have their ports already: finding a hundred takes a while.
		volume := labels("site-1", testBackend, "db1", id)
		volume["pgpatron.port.5432"], volume["pgpatron.port.8008"] = strconv.Itoa(26000+2*n), strconv.Itoa(26001+2*n)
		s.docker.volumes["cf-"+id] = volume
	}
	s.record(db)
	s.start(s.config(), through)
	want := map[string]string{}
	s.patiently("all are announced", func() bool {
		want = s.announcements()
		return len(want) == 2*nodes
	})

	link.Cut()
	s.patiently("the session has ended", func() bool { return len(s.announcements()) == 0 })
	s.docker.Stop("cf-n1", "cf-n2", "cf-n3")
	s.docker.Start()
	link.Heal()
	began := time.Now()
	s.patiently("all are announced again, as they were", func() bool { return maps.Equal(s.announcements(), want) })
	t.Logf("%d announcements were right after %v", len(want), time.Since(began))
}

// announcements returns the announcements of nodes.
func (s *site) announcements() map[string]string {
	s.Helper()
	prefix := strings.TrimSuffix(state.AnnouncementPattern("postgresql-brokerpatroni"), "{announcement}")
	resp, err := s.client.Get(s.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		s.Fatal(err)
	}
	found := map[string]string{}
	for _, kv := range resp.Kvs {
		found[string(kv.Key)] = string(kv.Value)
	}
	return found
}
