package broker_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// everything is an update that has steps of every kind.
func everything() map[string]any {
	return map[string]any{"plan_id": haPlan, "parameters": map[string]any{
		"backends": []string{"b2", "b3", "b4"}, "extensions": []string{"hstore"}, "settings": map[string]any{"max_connections": 50},
	}}
}

// checkEverything checks that everything was done, and nothing twice.
func (s *site) checkEverything(id string, leader string) {
	s.t.Helper()
	if got := s.backendsOf(id); got != "b2 b3 b4" {
		s.t.Errorf("nodes are on %s", got)
	}
	c := s.cluster(id)
	if c.MemoryMB != 1024 || !c.Synchronous || c.Settings["max_connections"] != "50" || strings.Join(c.Extensions, " ") != "hstore" {
		s.t.Errorf("got %+v", c)
	}
	if s.leader(id) == leader {
		s.t.Error("the leader has not changed, and its backend was to be left")
	}
	if n := s.nodes.Switchovers(); n != 1 {
		s.t.Errorf("the leadership was handed over %d times, want once", n)
	}
	if nodes := s.nodesEver(id); len(nodes) != 4 {
		s.t.Errorf("the cluster has had %d nodes, want the 2 of before and 2 new ones", len(nodes))
	}
	if got := s.nodes.Restarts(); len(got) != 2 {
		s.t.Errorf("PostgreSQL was restarted on %q, want once on each of 2 nodes", got)
	}
}

// nodesEver returns every node that a cluster's record has ever named.
func (s *site) nodesEver(id string) map[string]struct{} {
	s.t.Helper()
	ever := map[string]struct{}{}
	now, err := s.client.Get(s.t.Context(), state.ClusterKey(id))
	if err != nil {
		s.t.Fatal(err)
	}
	for revision := now.Kvs[0].CreateRevision; revision <= now.Header.Revision; revision++ {
		resp, err := s.client.Get(s.t.Context(), state.ClusterKey(id), clientv3.WithRev(revision))
		if err != nil {
			s.t.Fatal(err)
		}
		c, err := state.JSON[state.Cluster](resp.Kvs[0].Value)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, n := range c.Nodes {
			ever[n.NodeID] = struct{}{}
		}
	}
	return ever
}

// lives lets a broker write an instance's record once in each life.
type lives struct {
	key string

	// mu guards spent: the record was written in this life.
	mu    sync.Mutex
	spent bool
}

// carry passes a transaction on, unless it is one too many: that one is never
// heard of again.
func (l *lives) carry(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, send grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if l.spends(req.(*etcdserverpb.TxnRequest)) {
		<-ctx.Done()
		return ctx.Err()
	}
	return send(ctx, method, req, reply, cc, opts...)
}

// spends reports whether a transaction writes the record for a second time.
func (l *lives) spends(txn *etcdserverpb.TxnRequest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, op := range txn.Success {
		if put := op.GetRequestPut(); put != nil && string(put.Key) == l.key {
			spent := l.spent
			l.spent = true
			return spent
		}
	}
	return false
}

func (l *lives) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.spent
}

func (l *lives) renew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spent = false
}

// The broker dies after every single change of the journal, and the next one
// goes on from there.
func TestUpdateGoesOnAfterEveryDeath(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3", "b4")
	s.provision("i", clusterPlan)
	s.nodes.Lead("i", s.nodeOn("i", "b1"))
	s.poll("b1 leads", func() bool { return s.leader("i") == s.nodeOn("i", "b1") })
	leader := s.leader("i")
	s.want(s.patch("i", everything()), http.StatusAccepted)
	l := &lives{key: state.InstanceKey("i")}
	s.through = fixtures.EtcdTxns(t, s.client.Endpoints()[0], l.carry)
	deaths := 0
	for s.instance("i").Operation.Running() {
		before := s.written(l.key)
		s.stop()
		l.renew()
		s.start()
		deaths++
		// What is let through is written a moment later.
		s.poll("the journal goes on", func() bool { return l.over() && s.written(l.key) > before })
	}
	op := s.instance("i").Operation
	if op.State != state.Succeeded {
		t.Fatalf("update: %s: %s", op.State, op.Description)
	}
	if deaths < len(op.Plan) {
		t.Errorf("the broker died %d times in %d steps", deaths, len(op.Plan))
	}
	s.checkEverything("i", leader)
}

// The elected broker ends in the middle, and another one goes on.
func TestAnotherBrokerCarriesAnUpdateOn(t *testing.T) {
	s := newSite(t, "b1", "b2", "b3", "b4")
	s.provision("i", clusterPlan)
	s.nodes.Lead("i", s.nodeOn("i", "b1"))
	s.poll("b1 leads", func() bool { return s.leader("i") == s.nodeOn("i", "b1") })
	leader := s.leader("i")
	_, _, stop := s.run()
	defer stop()
	s.nodes.Slow("b4", true)
	r := s.want(s.patch("i", everything()), http.StatusAccepted)
	s.poll("the update waits for b4", func() bool {
		step, _ := s.instance("i").Operation.Current()
		return step.Kind == state.AwaitNode && step.Backend == "b4"
	})
	s.stop()
	s.nodes.Slow("b4", false)
	s.start()
	s.done("i", r)
	s.checkEverything("i", leader)
}

// written returns the revision at which a key was written last.
func (s *site) written(key string) int64 {
	s.t.Helper()
	got, err := s.client.Get(s.t.Context(), key)
	if err != nil || len(got.Kvs) == 0 {
		s.t.Fatalf("reading %s: %v", key, err)
	}
	return got.Kvs[0].ModRevision
}
