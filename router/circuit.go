package router

import "github.com/pgpatron/pgpatron/state"

// circuit is the part of the steering that follows this router's own switch: the
// value of its key in etcd. The registration keeps that key; it is not asked,
// because it may be waiting for a commit.
type circuit struct {
	own   *state.Table[string]
	table *table
}

func newCircuit(schema *state.Schema, cfg Config, t *table) *circuit {
	return &circuit{own: state.Register(schema, routerKey(cfg), state.Text), table: t}
}

// follow breaks or closes the circuit as the key says. A key that is missing
// changes nothing: it went with a session, and comes back as it was.
func (c *circuit) follow() {
	if entry, ok := c.own.Last(); ok {
		c.table.turn(state.IsDisabled(entry.Value))
	}
}
