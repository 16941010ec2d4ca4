package router_test

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// page is what the operators' page says that an operator may do by etcdctl, and
// what that looks like to a client.
func page(t *testing.T) (commands [][]string, told string) {
	t.Helper()
	b, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "\n## Switches\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if _, message, ok := strings.Cut(line, "# FATAL:  "); ok {
			told = strings.TrimSpace(message)
		}
		command, _, _ := strings.Cut(line, "#")
		if rest, ok := strings.CutPrefix(command, "etcdctl "); ok {
			commands = append(commands, strings.Fields(strings.ReplaceAll(rest, "''", `""`)))
		}
	}
	return commands, told
}

// What the operators' page says about switches is so: each command has its effect,
// and nothing else does.
func TestOperationsPageOnSwitches(t *testing.T) {
	t.Parallel()
	const id, instance = "cb71e8a5-5e2f-4d5c-9a0e-1f6d2c7b9e44", "mydb"
	s := newSite(t)
	s.put(state.ClusterKey(instance), `{"nodes":[{"node_id":"`+id+`","backend_id":"10.0.0.7"}]}`)
	leads, rests, other := newNode(t, "leads"), newNode(t, id), newNode(t, "other")
	for _, n := range []*node{leads, rests, other} {
		s.announce(instance, n)
	}
	rests.mode.Store(replica)
	other.mode.Store(replica)
	s.lead(instance, leads)
	port, reads := s.allocate(instance), freePort(t)
	s.put(state.ReadOnlyKey(instance), strconv.Itoa(reads))
	r := s.start(router.Config{IP: netip.MustParseAddr("10.0.0.5"), PID: 4711, BreakGrace: time.Minute})
	readersOf(t, reads, id, "other")
	commands, told := page(t)
	off := map[string]bool{}
	for _, c := range commands {
		switch key := c[1]; c[0] {
		case "put":
			s.put(key, strings.Trim(c[2], `"`))
			off[key] = c[2] == state.Disabled
		case "del":
			s.remove(key)
			off[key] = false
		case "get":
			continue
		default:
			t.Fatalf("the page has %q, which this test does not know", c)
		}
		s.followed()
		if off[state.RouterKey("10.0.0.5", 4711)] {
			if refused := refusedWith(t, port, "sslmode=prefer"); refused.Message != told {
				t.Errorf("after %q clients are told %q, the page says %q", c, refused.Message, told)
			}
			continue
		}
		if got := ask(t, open(t, port), "who"); got != "leads" {
			t.Errorf("after %q the port leads to %s", c, got)
		}
		resting := off[state.DatasourceKey(instance, id)] || off[state.CordonKey("10.0.0.7")]
		if served := askedOf(t, reads, 4); (served[id] == 0) != resting || served["leads"] != 0 {
			t.Errorf("after %q readers are served by %v", c, served)
		}
	}
	if len(commands) < 6 || len(off) != 3 {
		t.Errorf("the page has the commands %q, want each switch both ways", commands)
	}
	if got := r.metric(t, "pgpatron_router_circuit_broken"); got != 0 {
		t.Error("the page leaves the circuit broken")
	}
}
