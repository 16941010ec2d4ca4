package broker

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/pgpatron/pgpatron/fixtures"
	"github.com/pgpatron/pgpatron/state"
)

// onlooker is a driver that takes in what changes, and does nothing.
type onlooker struct{ *driver }

func (o onlooker) Tick(context.Context, state.Tick) ([]state.Group, error) {
	o.note()
	return nil, nil
}

// What a job found out is known no longer than the operation lasts.
func TestPositionsAreForgotten(t *testing.T) {
	t.Parallel()
	client, schema := fixtures.Etcd(t), state.NewSchema()
	d := newDriver(Config{Log: fixtures.Log(t)}.WithDefaults(), newTables(schema), state.NewElection(schema, "broker"))
	engine, _ := fixtures.RunEngine(t, state.EngineConfig{
		Client: client, Schema: schema, Reactor: onlooker{d}, Name: "onlooker", SessionTTL: time.Minute,
	})
	become := func(id string, is state.OperationState) {
		record, err := json.Marshal(instanceOf(id, "1", state.Move, is, ""))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Put(t.Context(), state.InstanceKey(id), string(record)); err != nil {
			t.Fatal(err)
		}
		arrived := func() bool { in, ok := d.tables.instances.Get(id); return ok && in.Value.Operation.State == is }
		if err := engine.Await(t.Context(), arrived); err != nil {
			t.Fatal(err)
		}
	}
	become("a", state.InProgress)
	become("b", state.InProgress)
	d.positions.put("a", 1)
	d.positions.put("b", 2)
	become("a", state.Failed)
	become("c", state.InProgress) // by now the driver has taken in a
	if a, b := d.positions.get("a"), d.positions.get("b"); a != 0 || b != 2 {
		t.Errorf("known are %d of what is over and %d of what is not, want 0 and 2", a, b)
	}
}

// What was tried long ago may be tried again, and is not known any more.
func TestTriesAreForgotten(t *testing.T) {
	r := &replacer{tables: newTables(state.NewSchema()), after: time.Hour}
	r.forget()
	r.tried["old"], r.tried["late"] = time.Now().Add(-2*time.Hour), time.Now()
	r.drive()
	if _, known := r.tried["late"]; !known || len(r.tried) != 1 {
		t.Errorf("known are %v", r.tried)
	}
}
