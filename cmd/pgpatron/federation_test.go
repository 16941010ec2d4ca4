package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/broker"
	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/federation"
	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// town is one site of a test, made of the program's own processes. Each logs in to
// etcd as its own user.
type town struct {
	t      *testing.T
	dc     string
	etcd   *clientv3.Client
	listen string
	broker string
	// own are the flags that every command of the site takes.
	own []string
}

func newTown(t *testing.T, authority *fixtures.Authority, dc string) *town {
	t.Helper()
	server := fixtures.EtcdServer(t)
	users := secure(t, "--etcd="+server.Endpoints()[0])
	root, err := state.Access{Endpoints: server.Endpoints(), Username: "root", Password: state.Secret(users.password("root", "PGPATRON_ETCD_PASSWORD"))}.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	cert, key := authority.Issue(t, dc)
	s := &town{
		t: t, dc: dc, etcd: root, listen: fixtures.FreeAddrs(t, "127.0.0.1", 1)[0], broker: fixtures.FreeAddrs(t, "127.0.0.1", 1)[0],
		own: []string{"--dc=" + dc, "--cert=" + cert, "--key=" + key, "--ca=" + authority.CA()},
	}
	start(t, append(users.as("federation", "--listen="+s.listen, "--metrics=127.0.0.1:0", "--join-token=open", "--lease=5s"), s.own...)...)
	start(t, users.as("broker", "--listen="+s.broker, "--password=secret", "--seal-key-file="+filepath.Join(t.TempDir(), "seal"), "--share-backends", "--global-ports")...)
	backend, err := json.Marshal(state.Backend{ID: "10.0.0.1", Hostname: "h", DockerVersion: "28"})
	if err != nil {
		t.Fatal(err)
	}
	s.put(state.BackendKey("10.0.0.1"), string(backend))
	return s
}

// start runs a process of the program until the test ends.
// operate runs an operator's command of the site.
func (s *town) operate(args ...string) (string, error) {
	var out bytes.Buffer
	err := run(s.t.Context(), append(append(args, "--federation="+s.listen), s.own...), &out, s.t.Output())
	return out.String(), err
}

func (s *town) put(key, value string) {
	s.t.Helper()
	if _, err := s.etcd.Put(s.t.Context(), key, value); err != nil {
		s.t.Fatal(err)
	}
}

// provision orders an instance and returns the answer.
func (s *town) provision(id, parameters string) (int, string) {
	s.t.Helper()
	body := fmt.Sprintf(`{"service_id":%q,"plan_id":%q,"organization_guid":"o","space_guid":"s","parameters":%s}`,
		broker.ServiceID, catalog.DefaultPlans()[0].ID, parameters)
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut,
		"http://"+s.broker+"/v2/service_instances/"+id+"?accepts_incomplete=true", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.SetBasicAuth("broker", "secret")
	req.Header.Set("X-Broker-API-Version", "2.17")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// eventually tries again until f is content.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	deadline := time.Now().Add(fixtures.Patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Two sites, each of an etcd, a broker and a federation process, agree on the
// port of an instance; a local one gets another; during a review ports stay.
func TestGlobalPortOfAnInstance(t *testing.T) {
	t.Parallel()
	authority := fixtures.NewAuthority(t)
	a, b := newTown(t, authority, "dc-0"), newTown(t, authority, "dc-1")
	eventually(t, func() error { _, err := a.operate("dc", "status"); return err })
	eventually(t, func() error { _, err := b.operate("dc", "status"); return err })
	if status, answer := a.provision("early", "{}"); status != http.StatusConflict || !strings.Contains(answer, "global ports need a federation: this site is standalone") {
		t.Errorf("without a federation: %d %s", status, answer)
	}
	host, port, _ := net.SplitHostPort(b.listen)
	if _, err := a.operate("dc", "add", "--join-token=open", "dc-1,"+host+","+port); err != nil {
		t.Fatal(err)
	}
	if out, err := a.operate("dc", "list"); err != nil || !strings.Contains(out, "dc-1") {
		t.Errorf("dc list: %v\n%s", err, out)
	}
	eventually(t, func() error {
		if status, answer := a.provision("g1", "{}"); status != http.StatusAccepted {
			return fmt.Errorf("provision: %d %s", status, answer)
		}
		return nil
	})
	var gips []federation.Reservation
	eventually(t, func() error {
		out, err := b.operate("gip", "list", "-o", "json")
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(out), &gips); err != nil || len(gips) != 1 {
			return fmt.Errorf("gip list at dc-1: %v\n%s", err, out)
		}
		return nil
	})
	if want := (federation.Reservation{Port: 30000, Instance: "g1", Home: "dc-0"}); gips[0] != want {
		t.Errorf("the global port is %+v, want %+v", gips[0], want)
	}
	if got := clusterOf(t, a, "g1"); got.AllocatedPort != 30000 || !got.Global {
		t.Errorf("the cluster has port %d, global %v", got.AllocatedPort, got.Global)
	}
	eventually(t, func() error {
		if status, answer := b.provision("l1", `{"global":false}`); status != http.StatusAccepted {
			return fmt.Errorf("provision: %d %s", status, answer)
		}
		return nil
	})
	if got := clusterOf(t, b, "l1"); got.AllocatedPort != 30001 || got.Global {
		t.Errorf("the local cluster of dc-1 has port %d, global %v", got.AllocatedPort, got.Global)
	}

	expires := time.Now().Add(12 * time.Second).Format(time.RFC3339)
	b.put(state.FederationOverlayKey(), `{"kind":"candidate-review","tx":"t","coordinator":"dc-0","base_epoch":2,"expires":"`+expires+
		`","proposal":{"kind":"add","peers":[{"dc":"dc-3","address":"10.0.0.3:1"}]}}`)
	if status, answer := b.provision("l2", `{"global":false}`); status != http.StatusConflict ||
		!strings.Contains(answer, "port changes are refused while in candidate-review (dc-3, expires in ") {
		t.Errorf("during a review: %d %s", status, answer)
	}
	if status, answer := b.provision("l1", `{"global":false}`); status != http.StatusAccepted {
		t.Errorf("asked again during a review: %d %s", status, answer)
	}
}

func clusterOf(t *testing.T, s *town, id string) state.Cluster {
	t.Helper()
	resp, err := s.etcd.Get(t.Context(), state.ClusterKey(id))
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("cluster record of %s: %v", id, err)
	}
	cluster, err := state.JSON[state.Cluster](resp.Kvs[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}
