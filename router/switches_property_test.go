package router_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/router"
	"github.com/pgpatron/pgpatron/state"
)

// TestMain has rapid try each property a few times, and shrink nothing: each try
// is a run against a real etcd, and how faults meet work is not in its hands. For a
// long run by hand: go test ./router -run Property -rapid.checks=50
func TestMain(m *testing.M) {
	fixtures.RunWaiting(m, map[string]string{
		"rapid.checks": "2", "rapid.steps": "20", "rapid.shrinktime": "0s", "rapid.nofailfile": "true",
	})
}

// Whatever operators switch, whatever fails meanwhile and whoever leads: what is
// written holds from the Tick on that sees it, and nothing else changes.
func TestPropertySwitches(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		defer w.end()
		rt.Repeat(map[string]func(*rapid.T){
			"":          w.check,
			"switch":    func(rt *rapid.T) { w.toggle(rt); w.settle() },
			"lead":      func(rt *rapid.T) { w.lead(rt); w.settle() },
			"compact":   func(*rapid.T) { w.compact() },
			"outage":    w.outage,
			"crash":     w.crash,
			"and back":  w.thereAndBack,
			"stop":      func(rt *rapid.T) { w.replace(w.whichRouter(rt), false) },
			"lose keys": w.loseKeys,
		})
		w.finish(rt)
	})
}

// world is an etcd with two routers and two instances, and what operators have
// written there last.
type world struct {
	*site
	endpoint  string
	routers   [2]*routerOf
	instances [2]*instanceOf
	// off are the keys that say DISABLED, of replicas and backends.
	off map[string]bool
	// dead are the keys of routers that were.
	dead  []string
	lives int
}

type routerOf struct {
	*running
	addr   netip.Addr
	link   *fixtures.Link
	key    string
	broken bool
}

type instanceOf struct {
	id          string
	port, reads int
	nodes       [3]*node
	leader      int
}

func newWorld(t *testing.T) *world {
	server := fixtures.EtcdServer(t)
	w := &world{site: &site{t: t, client: server.Client()}, endpoint: server.Endpoints()[0], off: map[string]bool{}}
	for i := range w.instances {
		in := &instanceOf{id: string(rune('a' + i))}
		nodes := ""
		for n := range in.nodes {
			nodes += fmt.Sprintf(`,{"node_id":"%s-n%d","backend_id":"%s"}`, in.id, n, backendOf(n))
		}
		w.put(state.ClusterKey(in.id), `{"nodes":[`+nodes[1:]+`]}`)
		in.port, in.reads, in.nodes = w.threesome(in.id)
		w.instances[i] = in
	}
	for i := range w.routers {
		w.routers[i] = &routerOf{addr: netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)})}
		w.start(w.routers[i])
	}
	w.settle()
	return w
}

func backendOf(node int) string { return "10.0.0." + strconv.Itoa(node) }

// start gives a router another life.
func (w *world) start(r *routerOf) {
	w.lives++
	r.link, r.broken = fixtures.NewLink(w.t, w.endpoint), false
	r.key = state.RouterKey(r.addr.String(), w.lives)
	r.running = launch(w.t, fixtures.EtcdClient(w.t, r.link.Addr()), &router.Config{
		IP: r.addr, Listen: r.addr, PID: w.lives, SessionTTL: time.Second, BreakGrace: time.Hour, ReplicaGrace: time.Hour,
	})
	eventually(w.t, "the router is registered", func() bool { _, lease, ok := w.get(r.key); return ok && lease != 0 })
}

func (w *world) end() {
	for _, r := range w.routers {
		r.link.Heal()
		r.stop()
	}
}

// settle waits until both routers have followed all that is in etcd.
func (w *world) settle() {
	w.t.Helper()
	marker := freePort(w.t)
	w.put(state.AllocationKey("marker"), strconv.Itoa(marker))
	for _, r := range w.routers {
		eventually(w.t, "the marker's port is open", func() bool { return r.serves(marker) })
	}
	w.remove(state.AllocationKey("marker"))
}

func (r *routerOf) serves(port int) bool {
	conn, err := net.Dial("tcp", netip.AddrPortFrom(r.addr, uint16(port)).String())
	if err == nil {
		conn.Close()
	}
	return err == nil
}

func (w *world) whichRouter(rt *rapid.T) *routerOf {
	return w.routers[rapid.IntRange(0, 1).Draw(rt, "router")]
}

// The words that switch off, and those that switch on.
var (
	offWords = []string{"DISABLED", "disabled", " Disabled\n"}
	onWords  = []string{"", "on", "DISABLED."}
)

// toggle writes one switch and returns what undoes it.
func (w *world) toggle(rt *rapid.T) (undo func()) {
	off := rapid.Bool().Draw(rt, "off")
	word := rapid.SampledFrom(onWords).Draw(rt, "word")
	if off {
		word = rapid.SampledFrom(offWords).Draw(rt, "word")
	}
	if rapid.Bool().Draw(rt, "of a router") {
		r := w.whichRouter(rt)
		before := r.broken
		w.turn(rt, r, off, word)
		return func() { w.turn(rt, r, before, map[bool]string{true: "DISABLED"}[before]) }
	}
	in := w.instances[rapid.IntRange(0, 1).Draw(rt, "instance")]
	n := rapid.IntRange(0, 2).Draw(rt, "node")
	key := state.DatasourceKey(in.id, in.nodes[n].name)
	if rapid.Bool().Draw(rt, "backend") {
		key = state.CordonKey(backendOf(n))
	}
	before := w.off[key]
	w.off[key] = off
	if !off && rapid.Bool().Draw(rt, "delete") {
		w.remove(key)
	} else {
		w.put(key, word)
	}
	return func() { w.off[key] = before; w.put(key, map[bool]string{true: "DISABLED"}[before]) }
}

// turn writes the switch of a router, with its lease or without.
func (w *world) turn(rt *rapid.T, r *routerOf, off bool, word string) {
	r.broken = off
	if rapid.Bool().Draw(rt, "keep the lease") {
		if _, err := w.client.Put(w.t.Context(), r.key, word, clientv3.WithIgnoreLease()); err == nil {
			return
		}
		// There is none: the key has just gone.
	}
	w.put(r.key, word)
}

// lead has another node lead an instance, after a moment in which nobody does or
// in one step.
func (w *world) lead(rt *rapid.T) {
	in := w.instances[rapid.IntRange(0, 1).Draw(rt, "instance")]
	next := rapid.IntRange(0, 2).Draw(rt, "node")
	if rapid.Bool().Draw(rt, "gap") {
		w.remove(state.LeaderKey(in.id))
	}
	in.nodes[in.leader].mode.Store(replica)
	in.nodes[next].mode.Store(primary)
	in.leader = next
	w.site.lead(in.id, in.nodes[next])
}

func (w *world) compact() {
	resp, err := w.client.Get(w.t.Context(), "now")
	if err == nil {
		_, err = w.client.Compact(w.t.Context(), resp.Header.Revision)
	}
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		w.t.Fatal(err)
	}
}

// outage lets something happen while a router can not see it: shortly, and then
// etcd may have compacted it away, or for longer than its session lasts.
func (w *world) outage(rt *rapid.T) {
	r := w.whichRouter(rt)
	faults := map[string]func(){"cut": r.link.Cut, "hold": r.link.Hold, "eat": r.link.EatReplies}
	faults[rapid.SampledFrom([]string{"cut", "hold", "eat"}).Draw(rt, "fault")]()
	long := rapid.IntRange(0, 3).Draw(rt, "long") == 0
	for range rapid.IntRange(1, 3).Draw(rt, "times") {
		if rapid.Bool().Draw(rt, "failover") {
			w.lead(rt)
		} else {
			w.toggle(rt)
		}
	}
	switch {
	case long:
		time.Sleep(1500 * time.Millisecond)
	case rapid.Bool().Draw(rt, "compact"):
		// What was written to a router whose session has ended may be nowhere any more.
		if _, _, ok := w.get(r.key); ok {
			w.compact()
		}
	default:
		time.Sleep(20 * time.Millisecond)
	}
	r.link.Heal()
	w.settle()
}

// crash kills a router, perhaps right after somebody has toggled it, and starts
// another.
func (w *world) crash(rt *rapid.T) {
	r := w.whichRouter(rt)
	toggled := rapid.IntRange(0, 2).Draw(rt, "toggled")
	if toggled == 1 {
		w.put(r.key, "DISABLED")
	}
	r.link.Cut()
	if toggled == 2 {
		w.put(r.key, "DISABLED")
	}
	w.replace(r, true)
}

// replace has another router take the place of one that ends.
func (w *world) replace(r *routerOf, crashed bool) {
	r.stop()
	if !crashed {
		r.link.Cut()
	}
	w.dead = append(w.dead, r.key)
	w.start(r)
	w.settle()
}

// thereAndBack writes a switch and takes it back: sessions live through it, but for
// those of a leader that is none any more.
func (w *world) thereAndBack(rt *rapid.T) {
	type lasting struct {
		conn *pgconn.PgConn
		who  string
	}
	var all []lasting
	for _, r := range w.routers {
		for _, in := range w.instances {
			for _, port := range []int{in.port, in.reads} {
				if conn, err := r.login(port); err == nil {
					all = append(all, lasting{conn, ask(w.t, conn, "who")})
				}
			}
		}
	}
	undo := w.toggle(rt)
	w.settle()
	undo()
	w.settle()
	for _, l := range all {
		if got := ask(w.t, l.conn, "who"); got != l.who {
			rt.Errorf("after a switch was written and taken back a session of %s is with %s", l.who, got)
		}
		l.conn.Close(context.Background())
	}
}

// loseKeys deletes a router's key, which comes back as it was.
func (w *world) loseKeys(rt *rapid.T) {
	r := w.whichRouter(rt)
	w.remove(r.key)
	eventually(w.t, "the key is back", func() bool { _, lease, ok := w.get(r.key); return ok && lease != 0 })
	w.settle()
}

func (r *routerOf) login(port int) (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fixtures.Patience)
	defer cancel()
	return pgconn.Connect(ctx, fmt.Sprintf("postgres://alice@%s:%d/app?sslmode=disable", r.addr, port))
}

// who returns the server that a new session reaches, or why it reaches none.
func (w *world) who(r *routerOf, port int) (string, error) {
	conn, err := r.login(port)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.Background())
	return ask(w.t, conn, "who"), nil
}

// check opens sessions everywhere: from the Tick that both routers have had, each
// leads where it may.
func (w *world) check(rt *rapid.T) {
	for i, r := range w.routers {
		for _, in := range w.instances {
			if r.broken {
				w.checkBroken(rt, r, in.port)
				w.checkBroken(rt, r, in.reads)
				continue
			}
			leader := in.nodes[in.leader].name
			if got, err := w.who(r, in.port); err != nil || got != leader {
				rt.Errorf("router %d leads writers of %s to %q (%v), want %s", i, in.id, got, err, leader)
			}
			for range 3 {
				got, err := w.who(r, in.reads)
				if err != nil || got != leader && w.rests(in, got) {
					rt.Errorf("router %d leads a reader of %s to %q (%v), which rests", i, in.id, got, err)
				}
			}
		}
	}
}

func (w *world) checkBroken(rt *rapid.T, r *routerOf, port int) {
	got, err := w.who(r, port)
	if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "57P03" {
		rt.Errorf("a router whose circuit is broken answers %q, %v", got, err)
	}
}

func (w *world) rests(in *instanceOf, name string) bool {
	for n, node := range in.nodes {
		if node.name == name {
			return w.off[state.DatasourceKey(in.id, name)] || w.off[state.CordonKey(backendOf(n))]
		}
	}
	return true
}

// finish switches everything on: then everybody serves, and nothing is left of
// routers that died.
func (w *world) finish(rt *rapid.T) {
	for key := range w.off {
		w.put(key, "")
		delete(w.off, key)
	}
	for _, r := range w.routers {
		w.put(r.key, "")
		r.broken = false
	}
	w.settle()
	w.check(rt)
	for _, r := range w.routers {
		for _, in := range w.instances {
			eventually(w.t, "readers are spread again", func() bool {
				served := map[string]bool{}
				conns := [2]*pgconn.PgConn{}
				for i := range conns {
					var err error
					if conns[i], err = r.login(in.reads); err != nil {
						rt.Fatal(err)
					}
					defer conns[i].Close(context.Background())
					served[ask(w.t, conns[i], "who")] = true
				}
				return len(served) == 2 && !served[in.nodes[in.leader].name]
			})
		}
		eventually(w.t, "a router is registered, and on", func() bool { value, lease, _ := w.get(r.key); return value == "" && lease != 0 })
	}
	for _, key := range w.dead {
		eventually(w.t, "the key of a dead router is gone", func() bool { _, _, ok := w.get(key); return !ok })
	}
}
