package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/broker/catalog"
	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// TestSwitchesPage: what docs/switches.md shows is so, on a broker and routers
// that run.
func TestSwitchesPage(t *testing.T) {
	fixtures.Tools(t, "bash", "etcdctl", "jq", "psql")
	text, err := os.ReadFile("../../docs/switches.md")
	if err != nil {
		t.Fatal(err)
	}
	site := newOrders(t)
	pid := fmt.Sprintf("@-@%d", os.Getpid())
	p := &page{
		t: t, lead: site.nodes.Lead, environment: append(os.Environ(), site.environment...),
		actual: strings.NewReplacer("@-@4711", pid, "host=10", "host=127", "port=30006", "port="+site.port),
		shown:  strings.NewReplacer(pid, "@-@4711", `at "127`, `at "10`, site.port, "30006"),
	}
	p.run(string(text))
}

// orders is the site that the page was written on.
type orders struct {
	nodes       *fixtures.Nodes
	port        string
	environment []string
}

func newOrders(t *testing.T) orders {
	t.Helper()
	server := fixtures.EtcdServer(t)
	etcd := "--etcd=" + server.Endpoints()[0]
	put := func(key string, record any) {
		t.Helper()
		value, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.Client().Put(t.Context(), key, string(value)); err != nil {
			t.Fatal(err)
		}
	}
	_, port, err := net.SplitHostPort(fixtures.FreeAddrs(t, "127.0.0.1", 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	number, _ := strconv.Atoi(port)
	put(state.AllocationKey("orders"), number)
	ha := catalog.DefaultPlans()[2].ID
	now := time.Now().UTC()
	put(state.InstanceKey("orders"), state.Instance{InstanceID: "orders", PlanID: ha, Operation: state.Operation{
		ID: "1", Type: state.Provision, State: state.Succeeded, Started: now, Updated: now,
	}})
	put(state.ClusterKey("orders"), state.Cluster{InstanceID: "orders", PlanID: ha, AllocatedPort: number, Nodes: []state.Node{
		{NodeID: "0b61f0a2-9a4c-4c6f-b3ad-5b7d4e1f6a01", BackendID: "10.0.0.11"},
		{NodeID: "7d1f0b7e-58a4-4d0e-8f0f-3f1c6ac5a902", BackendID: "10.0.0.12"},
		{NodeID: "c2a9e6d4-0b7c-4a51-9a3e-8e5d1f2b7c03", BackendID: "10.0.0.13"},
	}})
	o := orders{port: port, nodes: fixtures.RunNodes(t, server.Client(), "10.0.0.11", "10.0.0.12", "10.0.0.13")}
	for _, ip := range []string{"10.0.0.5", "10.0.0.6"} {
		start(t, "router", etcd, "--ip="+ip, "--listen=127"+strings.TrimPrefix(ip, "10"), "--data-plane=user", "--ports=1024-65535", "--metrics=127.0.0.1:0")
	}
	listen := fixtures.FreeAddrs(t, "127.0.0.1", 1)[0]
	start(t, "broker", etcd, "--listen="+listen, "--password=secret", "--admin-username=admin", "--admin-password=of-the-operators",
		"--seal-key-file="+filepath.Join(t.TempDir(), "seal"))
	bin := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(bin, "pgpatron")); err != nil {
		t.Fatal(err)
	}
	o.environment = []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), asProgram + "=1", "USER=alice", "LC_ALL=C.UTF-8",
		"PGPATRON_BROKER=http://" + listen, "PGPATRON_ADMIN_PASSWORD=of-the-operators",
		"ETCDCTL_API=3", "ETCDCTL_ENDPOINTS=" + server.Endpoints()[0],
	}
	return o
}
