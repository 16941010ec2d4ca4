package patroni

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// remindInterval is how often a node that waits says so again.
const remindInterval = 15 * time.Second

// announcements are the addresses of one node as etcd has them. They lie in two
// keys, and nothing else is watched: there may be very many nodes.
type announcements struct {
	keys   []string
	tables []*state.Table[netip.AddrPort]
	engine *state.Engine
	log    *slog.Logger
}

func newAnnouncements(node NodeConfig, etcd *clientv3.Client, log *slog.Logger) (*announcements, error) {
	a := &announcements{log: log}
	schema := state.NewSchema()
	for _, port := range []int{PostgreSQLPort, RESTPort} {
		key := state.AnnouncementKey(node.Image, node.Hostname, node.Container, port)
		a.keys = append(a.keys, key)
		a.tables = append(a.tables, state.Register(schema, key, decodeAddrPort))
	}
	var err error
	a.engine, err = state.NewEngine(state.EngineConfig{Client: etcd, Schema: schema, Name: "node", Log: log})
	if err != nil {
		return nil, err
	}
	return a, nil
}

func decodeAddrPort(b []byte) (netip.AddrPort, error) { return netip.ParseAddrPort(string(b)) }

// Run keeps the picture until ctx ends.
func (a *announcements) Run(ctx context.Context) error { return a.engine.Run(ctx) }

// first waits until both addresses are announced, and tells what it waits for.
func (a *announcements) first(ctx context.Context) (Addresses, error) {
	for {
		for _, key := range a.missing() {
			a.log.InfoContext(ctx, "waiting for address to be announced", "key", key)
		}
		wait, cancel := context.WithTimeout(ctx, remindInterval)
		addrs, err := a.await(wait, func(Addresses) bool { return true })
		expired := wait.Err() != nil
		cancel()
		if err == nil || ctx.Err() != nil || !expired {
			return addrs, err
		}
	}
}

// follow sends the addresses whenever they differ from what it sent before, at
// first from known, until ctx ends.
func (a *announcements) follow(ctx context.Context, known Addresses, changes chan<- Addresses) {
	for {
		addrs, err := a.await(ctx, func(addrs Addresses) bool { return addrs != known })
		if err != nil {
			return
		}
		known = addrs
		select {
		case changes <- addrs:
		case <-ctx.Done():
			return
		}
	}
}

// await waits until both addresses are announced and are wanted.
func (a *announcements) await(ctx context.Context, wanted func(Addresses) bool) (Addresses, error) {
	var addrs Addresses
	err := a.engine.Await(ctx, func() bool {
		sql, haveSQL := a.tables[0].Get()
		rest, haveREST := a.tables[1].Get()
		addrs = Addresses{PostgreSQL: sql.Value, REST: rest.Value}
		return haveSQL && haveREST && wanted(addrs)
	})
	if err != nil {
		return Addresses{}, err
	}
	return addrs, nil
}

// missing returns the keys that are not there.
func (a *announcements) missing() []string {
	var keys []string
	a.engine.View(func() {
		for i, table := range a.tables {
			if table.Len() == 0 {
				keys = append(keys, a.keys[i])
			}
		}
	})
	return keys
}
