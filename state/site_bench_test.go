package state_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/embedded"
)

// A site of the size that pgpatron is made for. Each member writes its key and each
// leader its status key once in Patroni's loop_wait, 10 s: 4 000 writes/s.
const (
	siteClusters  = 10000
	siteMembers   = 3
	siteWrites    = 4000
	siteElections = 50
)

func siteID(i int) string { return fmt.Sprintf("6f1c2a%06d-4d1e-4b6e-9a57-3f0c8f2d", i) }

func siteMember(i, m int) string { return fmt.Sprintf("c0ffee%06d-90d4-4c02-8f1e-%d", i, m) }

func memberValue(i, m int) string {
	role := "replica"
	if m == 0 {
		role = "primary"
	}
	return fmt.Sprintf(`{"version":"4.0.7","conn_url":"postgres://10.0.%d.%d:%d/postgres","api_url":"http://10.0.%d.%d:%d/patroni",`+
		`"state":"running","role":%q,"xlog_location":%d,"timeline":1,"replication_state":"streaming"}`,
		m, i%250, 20000+i%1000, m, i%250, 21000+i%1000, role, rand.N(1<<40))
}

func statusValue(i int) string {
	return fmt.Sprintf(`{"optime":%d,"slots":{%q:%d,%q:%d},"retain_slots":[%q,%q]}`, rand.N(1<<40),
		siteMember(i, 1), rand.N(1<<40), siteMember(i, 2), rand.N(1<<40), siteMember(i, 1), siteMember(i, 2))
}

const configValue = `{"ttl":20,"loop_wait":10,"retry_timeout":6,"maximum_lag_on_failover":1048576,"synchronous_mode":false,` +
	`"postgresql":{"use_pg_rewind":true,"use_slots":true,"parameters":{"max_connections":100,"wal_level":"replica","hot_standby":"on",` +
	`"max_wal_senders":10,"max_replication_slots":10,"wal_log_hints":"on","password_encryption":"scram-sha-256"}}}`

// clusterPuts are the keys of one cluster: what is ours of it, and Patroni's.
func clusterPuts(i int) []clientv3.Op {
	id := siteID(i)
	ops := []clientv3.Op{
		clientv3.OpPut(state.ClusterKey(id), fmt.Sprintf(`{"instance_id":%q,"allocated_port":%d,"nodes":[{"node_id":%q},{"node_id":%q},{"node_id":%q}]}`,
			id, 10000+i, siteMember(i, 0), siteMember(i, 1), siteMember(i, 2))),
		clientv3.OpPut(state.LeaderKey(id), siteMember(i, 0)),
		clientv3.OpPut(state.ClusterPrefix(id)+"initialize", strconv.Itoa(7400000000000000000+i)),
		clientv3.OpPut(state.ClusterPrefix(id)+"config", configValue),
		clientv3.OpPut(state.ClusterPrefix(id)+"status", statusValue(i)),
		clientv3.OpPut(state.AllocationKey(id), strconv.Itoa(10000+i)),
	}
	for m := range siteMembers {
		ops = append(ops, clientv3.OpPut(state.MemberKey(id, siteMember(i, m)), memberValue(i, m)))
	}
	return ops
}

// newSite starts an etcd that holds the whole site.
func newSite(b *testing.B) *embedded.Etcd {
	b.Helper()
	etcd := fixtures.EtcdServer(b)
	const together = 10
	for i := 0; i < siteClusters; i += together {
		var ops []clientv3.Op
		for j := range together {
			ops = append(ops, clusterPuts(i+j)...)
		}
		if _, err := etcd.Client().Txn(b.Context()).Then(ops...).Commit(); err != nil {
			b.Fatal(err)
		}
	}
	return etcd
}

// patronis write what the Patronis of the whole site do, evenly, until ctx
// ends. It returns how many writes they did.
func patronis(ctx context.Context, client *clientv3.Client) (written int64) {
	const writers = 32
	var count atomic.Int64
	var running sync.WaitGroup
	for range writers {
		running.Go(func() {
			pace := time.NewTicker(writers * time.Second / siteWrites)
			defer pace.Stop()
			for ctx.Err() == nil {
				key, value := patroniWrite()
				if _, err := client.Put(ctx, key, value); err == nil {
					count.Add(1)
				}
				select {
				case <-pace.C:
				case <-ctx.Done():
				}
			}
		})
	}
	running.Wait()
	return count.Load()
}

// patroniWrite returns what some Patroni writes.
func patroniWrite() (key, value string) {
	i, m := rand.N(siteClusters), rand.N(siteMembers+1)
	if m == siteMembers {
		return state.ClusterPrefix(siteID(i)) + "status", statusValue(i)
	}
	return state.MemberKey(siteID(i), siteMember(i, m)), memberValue(i, m)
}

// elect changes a leader now and then, until ctx ends. The new leader's name is
// the time at which it was put.
func elect(ctx context.Context, client *clientv3.Client) {
	pace := time.NewTicker(time.Second / siteElections)
	defer pace.Stop()
	for ctx.Err() == nil {
		_, _ = client.Put(ctx, state.LeaderKey(siteID(rand.N(siteClusters))), strconv.FormatInt(time.Now().UnixNano(), 10))
		select {
		case <-pace.C:
		case <-ctx.Done():
		}
	}
}
